"""One table of an Amazon Redshift target: loading, evolving and merging it, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

import pyarrow as pa

from cordillera.adapters.synchronizers import redshift_statements as statements
from cordillera.adapters.synchronizers.columns import Evolution, evolved_rows, is_nested
from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX, REPAIR_HINT, StoredState, evolution_to, restores
from cordillera.adapters.synchronizers.redshift_session import Session
from cordillera.adapters.synchronizers.redshift_staging import Attempt, Staged
from cordillera.adapters.synchronizers.redshift_statements import Grant, Layout, TableName
from cordillera.adapters.synchronizers.redshift_types import catalog_type, decode, sql_type
from cordillera.adapters.synchronizers.text import JsonReader
from cordillera.errors import CorruptDataError, DuplicateKeyError, TargetDriftError
from cordillera.ports.synchronizer import Delivery, TargetColumn, TargetTable

_MOVED = f"{OWN_PREFIX}moved"


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads staged files into staging tables, by the role that the cluster assumes for it."""

    session: Session
    role: str
    layout: Layout

    def load(
        self,
        name: str,
        columns: Sequence[TargetColumn],
        key: Sequence[str],
        staged: Staged | None,
        *,
        unique: bool = False,
    ) -> None:
        """Make a staging table of staged rows, if there are any.

        Args:
            name: The table to make.
            columns: Its columns, in the order of the files.
            key: The names of the key columns.
            staged: The rows.
            unique: Whether a key may come but once.

        Raises:
            CorruptDataError: If other than the staged rows were loaded.
            DuplicateKeyError: If a key came twice.
        """
        if staged is None:
            return
        self.session.run(statements.create_staging(name, columns, key, self.layout))
        self.session.run(statements.copy(name, staged.manifest, self.role))
        loaded = self.session.rows(statements.count(name))[0][0]
        if loaded != staged.rows:
            raise CorruptDataError(
                f"COPY loaded {loaded:,} of the {staged.rows:,} rows in {staged.manifest}.",
                hint="Repeat the delivery; if it happens again, somebody else writes into the staging folder.",
            )
        keys = [column for part in key for column in columns if column.name == part]
        if unique and keys and self.session.rows(statements.repeated_key(name, keys)):
            raise DuplicateKeyError(
                "A key came twice in a delivery to Amazon Redshift.", hint="Every key may come once in a delivery."
            )


@dataclass(frozen=True, slots=True)
class KeptTable:
    """A table as it is to be kept.

    Attributes:
        session: Where the transaction is open.
        name: Where the table lives.
        wanted: How it has to look, with the names that Redshift keeps.
        layout: How it is distributed and sorted.
    """

    session: Session
    name: TableName
    wanted: TargetTable
    layout: Layout

    # --- as it is ---------------------------------------------------------------------------------------------------

    def check_present(self, columns: Sequence[TargetColumn]) -> None:
        """Make sure that the table still has the given columns; others that a reader added do no harm.

        Raises:
            TargetDriftError: Naming what is missing or has another type.
        """
        found = self.session.rows(statements.PRESENT, [self.name.schema, self.name.name])
        if not found:
            raise TargetDriftError(f"The table {self.name} is not in the target.", hint=REPAIR_HINT)
        present = {name: catalog_type(kind, modifier) for name, kind, modifier in found}
        for column in columns:
            is_there = present.get(statements.fold(column.name))
            if is_there != sql_type(column.type):
                state = "missing" if is_there is None else f"{is_there}, not {sql_type(column.type)}"
                raise TargetDriftError(f"Column {column.name!r} of the table {self.name} is {state}.", hint=REPAIR_HINT)

    # --- as it should be --------------------------------------------------------------------------------------------

    def prepare(self, stored: StoredState | None, delivery: Delivery, loader: Loader, moved: Attempt) -> int:
        """Give the table the columns it has to have, and empty it for a replacement; return how many rows that removed.

        Args:
            stored: What the target remembers; None for a table that is to be made.
            delivery: What comes, for the table as it is wanted.
            loader: Loads rows that have to come through here because fields inside them change.
            moved: Where those are staged.
        """
        if stored is None:
            self._create(self.name)
            return 0
        try:
            self.check_present(stored.columns)
        except TargetDriftError:
            if not restores(stored, delivery):
                raise
            return self._restore(stored, loader)
        evolution = evolution_to(stored, delivery)
        deleted = self.session.run(statements.empty(self.name)) if delivery.replace else 0
        if evolution is None or evolution.retyped or evolution.made_optional:
            self._rebuild(stored.columns, evolution, loader, None if delivery.replace else moved)
        else:
            self._alter(evolution)
        return deleted

    def _restore(self, stored: StoredState, loader: Loader) -> int:
        """Make a table anew, empty, whatever somebody else has made of it; return how many rows it had."""
        there = self.session.rows(statements.EXISTS, [self.name.schema, self.name.name])[0][0]
        deleted = self.session.run(statements.empty(self.name)) if there else 0
        self._rebuild(stored.columns, None, loader, None)
        return deleted

    def _create(self, name: TableName) -> None:
        if self.session.rows(statements.EXISTS, [name.schema, name.name])[0][0]:
            raise TargetDriftError(
                f"There is a table {name} in the target that this subscription did not create; it was left untouched.",
                hint="Choose another table name for the subscription, or move that table away.",
            )
        self.session.run(statements.create(name, self.wanted.columns, self.wanted.key, self.layout))
        self._describe(name, [column for column in self.wanted.columns if column.doc])

    def _alter(self, evolution: Evolution) -> None:
        for name in evolution.dropped:
            self.session.run(statements.drop_column(self.name, name))
        for old, new in evolution.renaming_steps():
            self.session.run(statements.rename_column(self.name, old, new))
        for column in evolution.added:
            self.session.run(statements.add_column(self.name, column))
        self._describe(self.name, evolution.described)

    def _rebuild(
        self, stored: Sequence[TargetColumn], evolution: Evolution | None, loader: Loader, moved: Attempt | None
    ) -> None:
        """Put a new table in the place of the old one: with its rows if they stay, and with its privileges."""
        fresh = TableName(self.name.schema, f"{OWN_PREFIX}new_{uuid4().hex}")
        grants = [Grant(*row) for row in self.session.rows(statements.GRANTS, [self.name.schema, self.name.name])]
        self.session.run(statements.create(fresh, self.wanted.columns, self.wanted.key, self.layout))
        if moved is not None and evolution is not None:
            if any(is_nested(change.new) for change in evolution.retyped):
                self._move(fresh, stored, loader, moved)
            else:
                changes = {change.name: change for change in evolution.retyped}
                before = {column.field_id: column.name for column in stored}
                kept = [
                    (before[column.field_id], column.name, changes.get(column.name))
                    for column in self.wanted.columns
                    if column.field_id in before
                ]
                self.session.run(statements.deep_copy(fresh, self.name, kept))
        self.session.run(statements.drop(self.name))
        self.session.run(statements.rename(fresh, self.name.name))
        for grant in grants:
            self.session.run(statements.grant(self.name, grant))
        self._describe(self.name, [column for column in self.wanted.columns if column.doc])

    def _move(self, fresh: TableName, stored: Sequence[TargetColumn], loader: Loader, moved: Attempt) -> None:
        """Copy all rows by way of this process, which can change the fields inside nested values as SQL cannot."""
        staged = moved.stage("moved", self.wanted.columns, self.wanted.key, self._converted(stored))
        if staged is not None:
            loader.load(_MOVED, self.wanted.columns, self.wanted.key, staged)
            self.session.run(statements.insert(fresh, _MOVED, self.wanted.columns))

    def _converted(self, stored: Sequence[TargetColumn]) -> Iterator[pa.RecordBatch]:
        """Stream the rows of the table as they are, under the columns they are to have."""
        with JsonReader() as json_reader:
            for rows in self.session.stream(statements.select(self.name, stored)):
                yield evolved_rows(decode(rows, stored, json_reader), stored, self.wanted)

    def _describe(self, name: TableName, columns: Sequence[TargetColumn]) -> None:
        for column in columns:
            self.session.run(statements.describe(name, column))

    # --- rows -------------------------------------------------------------------------------------------------------

    def delete(self, staging: str) -> int:
        """Remove the rows whose keys were staged and return how many there were."""
        return self.session.run(statements.delete(self.name, staging, self._key()))

    def end(self, staging: str) -> int:
        """End the current rows of a history whose keys were staged and return how many there were."""
        return self.session.run(statements.end(self.name, staging, self._key()[:-1]))

    def upsert(self, staging: str, *, empty: bool) -> int:
        """Insert staged rows, after removing those of their keys if there can be any; return how many those were."""
        updated = 0 if empty or not self.wanted.key else self.delete(staging)
        self.session.run(statements.insert(self.name, staging, self.wanted.columns))
        return updated

    def _key(self) -> list[TargetColumn]:
        return [column for name in self.wanted.key for column in self.wanted.columns if column.name == name]
