"""The rows of a dataset: reading and changing them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

from cordillera.catalog.commits import CommitResult
from cordillera.client.backend import LakeBackend
from cordillera.client.merge import MergeBuilder
from cordillera.client.rows import as_reader
from cordillera.client.scan import Changes, Scan
from cordillera.errors import NotAllowedError
from cordillera.spec import sql
from cordillera.spec.as_of import AsOf, read_as_of
from cordillera.spec.explanation import WriteExplanation
from cordillera.spec.merge import HistoryColumns
from cordillera.spec.table_metadata import MAIN_BRANCH


class DatasetRows:
    """The part of ``Dataset`` that reads and changes rows."""

    _backend: LakeBackend
    name: str

    # --- reading -------------------------------------------------------------------------------------------------

    def scan(self, columns: Sequence[str] | None = None, where: str | None = None, as_of: AsOf = None) -> Scan:
        """Describe a read.

        Args:
            columns: Columns wanted, in order; None for all.
            where: SQL condition on the rows, for example ``"origin = 'JFK' AND dep_delay > 60"``.
            as_of: When to read the dataset as it was: a snapshot's sequence number, a datetime (UTC unless it has a
                zone), a date, which means the end of that day in UTC, a tag, or one of these as text (ISO 8601); or a
                branch.

        Raises:
            InvalidInputError: If ``as_of`` is no moment.
        """
        read_as_of(as_of)
        return Scan(self._backend, self.name, tuple(columns) if columns is not None else None, where, as_of)

    def current(self) -> Scan:
        """Return a scan of the rows that hold now, of a dataset that keeps a history.

        Raises:
            NotAllowedError: If it keeps none.
        """
        return self.scan().filter(sql.quote(self._history().is_current))

    def as_was(self, moment: int | str | date | Decimal) -> Scan:
        """Return a scan of the rows that held at a moment, of a dataset that keeps a history.

        This is about when things happened; ``scan(as_of=…)`` is about when they were written.

        Args:
            moment: Of the sequence column's type.

        Raises:
            NotAllowedError: If it keeps no history.
        """
        history, at = self._history(), sql.moment(moment)
        start, end = sql.quote(history.valid_from), sql.quote(history.valid_to)
        return self.scan().filter(f"{start} <= {at} AND ({end} IS NULL OR {end} > {at})")

    def _history(self) -> HistoryColumns:
        semantics = self._backend.dataset(self.name).semantics
        if semantics.history is None:
            raise NotAllowedError(
                f"{self.name} keeps no history; its merge rule is {semantics.rule}.",
                hint="Read a past snapshot with scan(as_of=…), or create a dataset version with merge='scd2'.",
            )
        return semantics.history

    def changes(
        self,
        after: AsOf = None,
        upto: AsOf = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        *,
        net: bool = True,
    ) -> Changes:
        """Describe a read of what changed between two moments; it costs as much as changed.

        Behind the columns come ``_change_type`` (insert, update_before, update_after, delete) and
        ``_commit_sequence_number``. The images of an update follow each other, and both have the schema of ``upto``.
        Rows are known by the dataset's key; without one by ``_row_id``, which then is a column, too.

        Args:
            after: The state to begin from, in the forms of ``scan(as_of=…)``; None, or 0, for the empty dataset.
            upto: The state to end with; None means now.
            columns: Columns wanted, in order; None for all. A row that differs in none of them did not change.
            where: SQL condition: a row that begins to satisfy it is an insert, one that ceases to is a delete.
            net: One change for each row that differs between the two states, whatever happened in between; else the
                changes of every commit, one commit after the other.

        Raises:
            InvalidInputError: If ``after`` or ``upto`` is no moment.
        """
        read_as_of(after), read_as_of(upto)
        return Changes(
            self._backend, self.name, tuple(columns) if columns is not None else None, where, after, upto, net=net
        )

    def head(self, rows: int = 10) -> pa.Table:
        """Return some rows."""
        return self.scan().limit(rows).to_arrow()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.scan().__arrow_c_stream__(requested_schema)

    # --- writing -------------------------------------------------------------------------------------------------

    def write(
        self,
        rows: Any,
        operation: str = "append",
        *,
        where: str | None = None,
        idempotency_key: str | None = None,
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> CommitResult:
        """Write rows.

        Args:
            rows: Anything with ``__arrow_c_stream__`` (Polars, pandas, DuckDB, pyarrow …), or a list of dicts.
            operation: append, upsert, partial_update, delete, replace or replace_partitions.
            where: With replace: the rows that are replaced.
            idempotency_key: Repeating a write under the same key has no further effect.
            completes: A partition that is complete with this write.
            branch: Where to write. Nobody who does not name the branch sees it, until it is published.

        Raises:
            ContractViolationError: If the rows break the dataset's contract; nothing is written.
            InvalidInputError: One of its kinds, if the rows do not fit the dataset; nothing is written.
        """
        reader = as_reader(rows, self._schema)
        return self._backend.write(
            self.name,
            reader,
            operation,
            where=where,
            idempotency_key=idempotency_key,
            completes=completes,
            branch=branch,
        )

    def merge(self, rows: Any, branch: str = MAIN_BRANCH) -> MergeBuilder:
        """Begin a conditional merge: which rows to update, delete and insert is said clause by clause.

        ``dataset.merge(rows).when_matched().update().when_not_matched().insert().execute()``

        Args:
            rows: The source, in any form that ``write`` takes; besides the dataset's columns, the key among them, it
                may have others that clauses use.
            branch: Where to merge.
        """
        return MergeBuilder(self._backend, self.name, as_reader(rows, self._schema, others=True), branch)

    def delete_where(
        self, where: str, *, idempotency_key: str | None = None, branch: str = MAIN_BRANCH
    ) -> CommitResult:
        """Delete the rows that satisfy a condition."""
        return self._backend.delete_where(self.name, where, idempotency_key=idempotency_key, branch=branch)

    def explain(
        self, rows: Any, operation: str = "append", *, where: str | None = None, branch: str = MAIN_BRANCH
    ) -> WriteExplanation:
        """Tell what ``write`` would do to the dataset's files, and why: which it reads, marks, rewrites and adds.

        All the work is done but the commit; nothing changes. A merge has ``merge(rows)….explain()``.

        Args:
            rows, operation, where, branch: As in ``write``.
        """
        reader = as_reader(rows, self._schema)
        return self._backend.explain_write(self.name, reader, operation, where=where, branch=branch)

    def explain_delete(self, where: str, *, branch: str = MAIN_BRANCH) -> WriteExplanation:
        """Tell what ``delete_where`` would do to the dataset's files, and why."""
        return self._backend.explain_delete(self.name, where, branch=branch)

    def _schema(self) -> pa.Schema:
        return self._backend.schema(self.name)
