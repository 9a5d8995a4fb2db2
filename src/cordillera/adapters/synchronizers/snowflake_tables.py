"""One delivery to a native table of Snowflake: columns first, statement by statement, then rows in one transaction.

DDL commits by itself in Snowflake, and a change of columns takes several statements. So it is written down before,
with how far it has got (``snowflake_state``): whoever delivers next goes on with what another has begun. Each of its
statements leaves names by which the next one to do is found, because columns that change their names first get ones
that nobody has.

Where columns cannot follow, a new table is made under a name of its own, with all rows, and takes the name of the one
that is there. How far it has followed was written down by its mark, and holds from the moment it has the name. Nobody
goes on with the new table of another: it is ended, which tells whether it has taken the name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

import pyarrow as pa

from cordillera.adapters.synchronizers import snowflake_table_statements as statements
from cordillera.adapters.synchronizers.columns import (
    Evolution,
    evolved_rows,
    is_nested,
    plan_evolution,
)
from cordillera.adapters.synchronizers.deliveries import (
    REPAIR_HINT,
    StoredState,
    delete_batches,
    ending_batches,
    evolution_to,
    read_columns,
    restores,
    upsert_batches,
)
from cordillera.adapters.synchronizers.snowflake_session import RefusedError, Session, meaning_of
from cordillera.adapters.synchronizers.snowflake_staging import Staged, stage
from cordillera.adapters.synchronizers.snowflake_state import (
    Change,
    Held,
    Phase,
    States,
    kind_and_mark,
    next_state,
)
from cordillera.adapters.synchronizers.snowflake_table_statements import TableName
from cordillera.adapters.synchronizers.snowflake_types import catalog_type, decode, described_type, sql_type
from cordillera.adapters.synchronizers.text import JsonReader
from cordillera.errors import TargetDriftError
from cordillera.ports.synchronizer import Delivery, DeliveryResult, TargetColumn, TargetTable

TABLE_KIND = "BASE TABLE"
_NO_CHANGE = Evolution((), (), (), (), (), ())


def check_present(session: Session, table: TableName, columns: Sequence[TargetColumn]) -> None:
    """Make sure that a table has the given columns.

    Columns that a reader added do no harm.

    Raises:
        TargetDriftError: Naming what is missing or is otherwise.
    """
    found = session.rows(statements.found_columns(table), table.schema, table.name)
    if not found:
        raise TargetDriftError(f"The table {table} is not in the target.", hint=REPAIR_HINT)
    present = {row["name"]: row for row in found}
    for column in columns:
        row, wanted = present.pop(column.name, None), catalog_type(column.type)
        is_there = None if row is None else described_type(row["type"], row["precision"], row["scale"])
        if is_there != wanted:
            state = "missing" if is_there is None else f"{is_there}, not {wanted}"
            raise TargetDriftError(f"Column {column.name!r} of the table {table} is {state}.", hint=REPAIR_HINT)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery in staging tables: keys of rows to remove, keys whose rows end, rows; None without any."""

    gone: Staged | None
    ended: Staged | None
    fresh: Staged | None


def arrive(session: Session, delivery: Delivery) -> Arrived:
    """Bring a delivery's rows into staging tables, which end with the session."""
    table, gone, ended = delivery.table, None, None
    key = read_columns(table, table.key)
    if not delivery.replace:
        gone = stage(session, "deletes", key, key, delete_batches(delivery))
    if delivery.endings is not None and not delivery.replace:
        ending = table.ending_columns()
        ended = stage(session, "endings", ending, ending[:-1], ending_batches(delivery), unique=True)
    return Arrived(gone, ended, stage(session, "upserts", table.columns, key, upsert_batches(delivery), unique=True))


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to deliver.

    Attributes:
        session: The connection.
        states: What is remembered of the subscription.
        table: The table that it keeps.
        delivery: What comes.
        arrived: Its rows.
    """

    session: Session
    states: States
    table: TableName
    delivery: Delivery
    arrived: Arrived

    @property
    def _wanted(self) -> TargetTable:
        return self.delivery.table

    def apply(self, held: Held) -> DeliveryResult | None:
        """Bring the table to its next state.

        Args:
            held: What is remembered.

        Returns:
            What was done; None if another worker has been faster, and what is remembered has to be looked at again.
        """
        begun = held.change
        if held.state is None:
            return self._made(held)
        present: Held | None = held if begun is None else self._settled(held, held.state, begun)
        if present is None or present.state is None:
            return None
        try:
            self._check_kept(present, present.state)
            evolution = evolution_to(present.state, self.delivery)
        except TargetDriftError:
            if not restores(present.state, self.delivery):
                raise
            return self._made(present)  # whatever somebody has made of it
        if evolution is None:
            return self._made(present)
        if evolution != _NO_CHANGE:
            present = self._changed(present, present.state)
        if present is None or present.state is None:
            return None
        return self._merged(present, present.state)

    def _check_kept(self, held: Held, state: StoredState) -> None:
        """Make sure that the table is the one that was delivered last."""
        found = kind_and_mark(self.session, self.table)
        if found is not None and found[1] not in (None, held.mark):
            raise TargetDriftError(
                f"The table {self.table} is another than the one that this subscription made.", hint=REPAIR_HINT
            )
        if found is not None and found[0] != TABLE_KIND:
            raise TargetDriftError(f"{self.table} is a {found[0].lower()}, no table.", hint=REPAIR_HINT)
        check_present(self.session, self.table, state.columns)

    # --- a table that is made -----------------------------------------------------------------------------------------

    def _made(self, held: Held) -> DeliveryResult | None:
        """Make a new table with all rows, and let it take the name at once; until then readers see the present one."""
        found, deleted = kind_and_mark(self.session, self.table), 0
        if found is not None:
            self._check_replaced(held, found[0])
            deleted = int(self.session.rows(statements.count(self.table))[0]["rows"])
        state = next_state(self.table, self._wanted, self.delivery.to_cursor)
        change = Change(Phase.MAKE, state, uuid4().hex)
        announced = self.states.write(held, replace(held, change=change))
        if announced is None:
            return None
        try:
            done = self._swapped(announced, change, instead=found is not None)
        except RefusedError as refused:
            now = self.states.prepare()
            if now.change is None or now.change.mark != change.mark or self.states.end(now) is None:
                return None
            raise meaning_of(refused, str(self.session.account)) from None
        upserted = self.arrived.fresh.rows if self.arrived.fresh else 0
        return DeliveryResult(upserted, deleted, rows_updated=0) if done else None

    def _check_replaced(self, held: Held, kind: str) -> None:
        """Make sure that what has the name may be replaced by a table."""
        if held.state is None:
            raise TargetDriftError(
                f"There is a {kind.lower()} {self.table} in the target that this subscription did not create; it "
                "was left untouched.",
                hint="Choose another table name for the subscription, or move that table away.",
            )
        if kind != TABLE_KIND:
            raise TargetDriftError(
                f"{self.table} is a {kind.lower()}, no table.", hint="Move it away; a repair then makes the table anew."
            )

    def _swapped(self, held: Held, change: Change, *, instead: bool) -> bool:
        """Fill a new table and let it take the name, ``instead`` of a table that has it; False if overtaken."""
        fresh, run = self.states.aside(self.table, change.mark), self.session.run
        self.states.sweep(self.table)  # whose new tables are there, has been overtaken
        if instead:
            run(statements.create_like(fresh, self.table))  # it is to have the privileges from its first moment on
        run(statements.create(fresh, self._wanted, change.mark, instead=instead))
        if self.arrived.fresh:
            run(statements.insert(fresh, self.arrived.fresh.table, self._wanted.columns))
        whole = self.states.write(held, replace(held, change=replace(change, phase=Phase.SWAP)))
        if whole is None:
            run(statements.drop(fresh))
            return False
        if instead:
            run(statements.swap(self.table, fresh))
            run(statements.drop(fresh))
        else:
            run(statements.rename(fresh, self.table))
        self.states.write(whole, Held(whole.revision, change.state, change.mark))
        return True

    # --- columns that change ------------------------------------------------------------------------------------------

    def _changed(self, held: Held, state: StoredState) -> Held | None:
        """Change the table's columns; those whose nested fields change keep their type until their rows change."""
        before = {column.field_id: column for column in state.columns}
        columns = tuple(
            replace(column, type=before[column.field_id].type)
            if column.field_id in before and is_nested(column.type)
            else column
            for column in self._wanted.columns
        )
        taken = {row["name"] for row in self._present()} - {column.name for column in state.columns}
        for column in columns:
            if column.name in taken:
                raise TargetDriftError(
                    f"Column {column.name!r}, which somebody has added to the table {self.table}, has the name of one "
                    "that is to be delivered.",
                    hint="Rename it, or drop it.",
                )
        settled = replace(state, columns=columns)  # columns are told apart by their ids, and so is the key
        change = Change(Phase.CLEAR, settled, held.mark)
        announced = self.states.write(held, replace(held, change=change))
        return None if announced is None else self._settled(announced, state, change)

    def _settled(self, held: Held, state: StoredState, change: Change) -> Held | None:
        """Do what is left to do of a change of columns, and write down that it is done."""
        columns = change.state.columns
        names = {column.field_id: column.name for column in columns}
        wanted = TargetTable(self._wanted.name, columns, tuple(names[field_id] for field_id in state.key))
        evolution = plan_evolution(state.columns, state.key, wanted)
        cleared: Held | None = held
        if change.phase is Phase.CLEAR:
            self._clear(evolution)
            cleared = self.states.write(held, replace(held, change=replace(change, phase=Phase.SETTLE)))
        if cleared is None:
            return None
        self._settle(evolution, columns)
        return self.states.write(cleared, replace(cleared, state=change.state, change=None))

    def _clear(self, evolution: Evolution) -> None:
        present = {row["name"] for row in self._present()}
        for name in evolution.dropped:
            if name in present:
                self.session.run(statements.drop_column(self.table, name))
        for old, away in evolution.renaming_steps()[: len(evolution.renamed)]:
            if away not in present:
                self.session.run(statements.rename_column(self.table, old, away))

    def _settle(self, evolution: Evolution, columns: Sequence[TargetColumn]) -> None:
        present, by_name = {row["name"]: row for row in self._present()}, {column.name: column for column in columns}
        for away, new in evolution.renaming_steps()[len(evolution.renamed) :]:
            if away in present:
                self.session.run(statements.rename_column(self.table, away, new))
        for change in evolution.retyped:
            if sql_type(change.old) != sql_type(change.new):
                self.session.run(statements.widen_column(self.table, by_name[change.name]))
        for name in evolution.made_optional:
            self.session.run(statements.make_optional(self.table, name))
        for column in evolution.added:
            if column.name not in present:
                self.session.run(statements.add_column(self.table, column))
        added = {column.name for column in evolution.added}
        for column in evolution.described:
            if column.name not in added:
                self.session.run(statements.describe_column(self.table, column))

    def _present(self) -> list[dict[str, str]]:
        return self.session.rows(statements.found_columns(self.table), self.table.schema, self.table.name)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _merged(self, held: Held, state: StoredState) -> DeliveryResult | None:
        """Bring rows into the table; all of them anew if fields inside nested values change."""
        before = {column.field_id: column for column in state.columns}
        stored = [before[column.field_id] for column in self._wanted.columns]
        moved = None
        if not self.delivery.replace and any(
            old.type != new.type for old, new in zip(stored, self._wanted.columns, strict=True) if is_nested(new.type)
        ):
            key = read_columns(self._wanted, self._wanted.key)
            moved = stage(self.session, "moved", self._wanted.columns, key, self._converted(stored))
        return self._merge(held, empty=self.delivery.replace, moved=moved)

    def _converted(self, stored: Sequence[TargetColumn]) -> Iterator[pa.RecordBatch]:
        """Stream the rows of the table as they are, under the columns they are to have."""
        with JsonReader() as json_reader:
            for rows in self.session.stream(statements.select(self.table, stored)):
                yield evolved_rows(decode(rows, stored, json_reader), stored, self._wanted)

    def _merge(self, held: Held, *, empty: bool, moved: Staged | None = None) -> DeliveryResult | None:
        """Change rows and cursor in one transaction.

        Args:
            held: What is remembered.
            empty: Whether rows that are there go.
            moved: All rows that are there, as they have to be.
        """
        state = next_state(self.table, self._wanted, self.delivery.to_cursor)
        key, arrived, run = read_columns(self._wanted, self._wanted.key), self.arrived, self.session.run
        with self.session.transaction():
            if self.states.write(held, replace(held, state=state, change=None)) is None:
                return None
            deleted = run(statements.empty(self.table)) if empty else 0
            if moved:
                run(statements.empty(self.table))
                run(statements.insert(self.table, moved.table, self._wanted.columns))
            deleted += run(statements.delete(self.table, arrived.gone.table, key)) if arrived.gone else 0
            closed = updated = upserted = 0
            if arrived.ended:
                closed = run(statements.end(self.table, arrived.ended.table, self._wanted.ending_columns()))
            if arrived.fresh:
                updated = 0 if empty or not key else run(statements.delete(self.table, arrived.fresh.table, key))
                upserted = run(statements.insert(self.table, arrived.fresh.table, self._wanted.columns))
        return DeliveryResult(upserted + closed, deleted, rows_updated=updated + closed)
