"""Building conditional merges clause by clause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import pyarrow as pa

from cordillera.catalog.commits import CommitResult
from cordillera.client.backend import LakeBackend
from cordillera.spec.explanation import WriteExplanation
from cordillera.spec.merge_clauses import MergeClause, Then, When
from cordillera.spec.table_metadata import MAIN_BRANCH


@dataclass(frozen=True, slots=True)
class MergeBuilder:
    """A conditional merge that has been described but not begun. Clauses are tried in the order of their adding.

    ``dataset.merge(rows).when_matched("source.op = 'D'").delete().when_matched().update().execute()``
    """

    backend: LakeBackend
    dataset: str
    rows: pa.RecordBatchReader
    branch: str = MAIN_BRANCH
    clauses: tuple[MergeClause, ...] = ()

    def when_matched(self, condition: str | None = None) -> MatchedRows:
        """Begin a clause for rows of the source whose key is stored.

        Args:
            condition: SQL over ``source.column`` and ``target.column``; None for all such rows.
        """
        return MatchedRows(self, When.MATCHED, condition)

    def when_not_matched(self, condition: str | None = None) -> NewRows:
        """Begin a clause for rows of the source whose key is not stored; ``condition`` is over ``source.column``."""
        return NewRows(self, When.NOT_MATCHED, condition)

    def when_not_matched_by_source(self, condition: str | None = None) -> StoredRows:
        """Begin a clause for stored rows whose key the source has not; ``condition`` is over ``target.column``."""
        return StoredRows(self, When.NOT_MATCHED_BY_SOURCE, condition)

    def explain(self) -> WriteExplanation:
        """Tell what it would do to the dataset's files, and why; the rows are read now, once. Nothing changes."""
        return self.backend.explain_merge(self.dataset, self.rows, self.clauses, branch=self.branch)

    def execute(self, *, idempotency_key: str | None = None, completes: str | date | None = None) -> CommitResult:
        """Do it, in one commit; the rows are read now, once.

        Args:
            idempotency_key: Repeating the merge under the same key has no further effect.
            completes: A partition that is complete with this merge.

        Raises:
            DuplicateKeyError: If several rows of the source have a key, and no sequence decides between them.
            InvalidInputError: One of its kinds, if the source or a clause does not fit the dataset; nothing is written.
        """
        return self.backend.merge(
            self.dataset,
            self.rows,
            self.clauses,
            idempotency_key=idempotency_key,
            completes=completes,
            branch=self.branch,
        )


@dataclass(frozen=True, slots=True)
class _Begun:
    merge: MergeBuilder
    when: When
    condition: str | None

    def _add(self, then: Then, columns: Sequence[str] = (), values: Mapping[str, str] | None = None) -> MergeBuilder:
        clause = MergeClause(self.when, then, self.condition, tuple(columns), dict(values or {}))
        return replace(self.merge, clauses=(*self.merge.clauses, clause))


@dataclass(frozen=True, slots=True)
class MatchedRows(_Begun):
    """Rows of the source whose key is stored."""

    def update(self, columns: Sequence[str] = (), set: Mapping[str, str] | None = None) -> MergeBuilder:
        """Change the stored rows.

        Args:
            columns: Columns to take from the source as they are.
            set: Column → SQL over ``source.column`` and ``target.column`` for its value. Without ``set`` and
                ``columns``, all columns of the source are taken.
        """
        return self._add(Then.UPDATE, columns, set)

    def delete(self) -> MergeBuilder:
        """Remove the stored rows."""
        return self._add(Then.DELETE)


@dataclass(frozen=True, slots=True)
class NewRows(_Begun):
    """Rows of the source whose key is not stored."""

    def insert(self, columns: Sequence[str] = (), set: Mapping[str, str] | None = None) -> MergeBuilder:
        """Insert them; columns that are not given take their defaults.

        Args:
            columns: Columns to take from the source as they are.
            set: Column → SQL over ``source.column`` for its value. Without ``set`` and ``columns``, all columns of the
                source are taken.
        """
        return self._add(Then.INSERT, columns, set)


@dataclass(frozen=True, slots=True)
class StoredRows(_Begun):
    """Stored rows whose key the source has not."""

    def update(self, set: Mapping[str, str]) -> MergeBuilder:
        """Change them: column → SQL over ``target.column`` for its value."""
        return self._add(Then.UPDATE, (), set)

    def delete(self) -> MergeBuilder:
        """Remove them."""
        return self._add(Then.DELETE)
