"""Writes that lose races, any number of them and to anything: what is stored is what the order of the commits says."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordillera.catalog.pending import PendingWrite
from cordillera.catalog.requests import CommitRequest
from cordillera.errors import CommitConflictError, DuplicateKeyError, WriteConflictError
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.requirements import check
from cordillera.table.branching import BranchWriter
from cordillera.table.prepared_write import PreparedWrite, StagedWrite
from cordillera.table.write import TableWriter
from tests.examples import examples
from tests.table.harness import LooseTable
from tests.table.test_compaction_model import OPTIONS, CompactingMachine
from tests.table.test_merge_model import KEYS, ROWS, identity

LEAST = st.integers(-2, 2)
WRITES = st.one_of(
    *(
        st.tuples(st.just(name), st.fixed_dictionaries({"rows": ROWS}))
        for name in ("append", "upsert", "partial_update")
    ),
    st.tuples(
        st.just("delete"),
        st.fixed_dictionaries({"keys": st.lists(KEYS, max_size=5, unique_by=identity), "revision": st.integers(1, 6)}),
    ),
    st.tuples(st.just("delete_by_condition"), st.fixed_dictionaries({"least": LEAST})),
    st.tuples(st.just("replace_by_condition"), st.fixed_dictionaries({"rows": ROWS, "least": LEAST})),
    st.tuples(st.just("replace"), st.fixed_dictionaries({"rows": ROWS})),
)
OTHERS = st.one_of(
    st.tuples(st.just("compact"), st.fixed_dictionaries({"options": OPTIONS})),
    st.tuples(st.just("expire"), st.fixed_dictionaries({"keep_last": st.integers(1, 2)})),
    st.tuples(st.just("roll_back"), st.fixed_dictionaries({"steps": st.integers(1, 3)})),
    st.sampled_from([("rewrite_manifests", {}), ("widen_amount", {}), ("partition_by", {"terms": ("name",)})]),
)


class RacingTable(LooseTable):
    """A table whose writes may be overtaken between being prepared and being committed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.meanwhile: list[Callable[[], object]] = []
        self.pending: list[TableWriter] = []
        self.carried_over = 0

    def write(
        self, operation: Operation, rows: pa.Table | list[dict[str, object]], where: str | None = None
    ) -> PreparedWrite:
        """Write rows; what is to happen meanwhile happens before it is committed."""
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=self.arrow_schema())
        row_filter = parse_row_filter(where, self.metadata.schema) if where else None
        writer = TableWriter(self.io, "test.table")
        return self.race(writer, writer.stage(operation, table.to_reader(), self.metadata, where=row_filter))

    def delete_where(self, where: str) -> PreparedWrite:
        """Delete rows by condition."""
        row_filter = parse_row_filter(where, self.metadata.schema)
        return self.race(TableWriter(self.io, "test.table"), StagedWrite(Operation.DELETE, where=row_filter))

    def race(self, writer: TableWriter, staged: StagedWrite) -> PreparedWrite:
        """Prepare a write, be overtaken, and commit it in the end."""
        begun = self.begin(writer, staged)
        self.pending.append(writer)
        meanwhile, self.meanwhile = self.meanwhile, []
        try:
            request = begun.prepare(self.metadata)
            for happens in meanwhile:
                happens()
                with suppress(CommitConflictError):
                    check(request.requirements, self.metadata)
                    continue
                before = begun._prepared
                request = begun.prepare(self.metadata)
                same_files = before is not None and begun._prepared is not None and begun._prepared.basis is not None
                self.carried_over += same_files and set(added(before)) == set(added(begun._prepared))
        except (DuplicateKeyError, WriteConflictError):
            begun.discard()
            raise
        finally:
            self.pending.remove(writer)
        assert request.manifest is not None
        prepared = PreparedWrite(request.requirements, request.updates, request.manifest, None)
        return self.commit(prepared)

    def begin(self, writer: TableWriter, staged: StagedWrite) -> PendingWrite:
        return PendingWrite(
            cast(Any, SimpleNamespace(name="test.table")), writer, staged, self.metadata, CommitRequest()
        )

    def expire(self, older_than_ms: int = -1, keep_last: int = 1) -> tuple[list[int], list[str]]:
        """Expire snapshots; writers under way find nothing of them in caches either."""
        expired = super().expire(older_than_ms, keep_last)
        for writer in self.pending:
            writer.io.files, writer.io.reader = self.io.files, self.io.reader
        return expired

    def rollback(self, sequence: int) -> None:
        """Go back to an earlier snapshot."""
        earlier = self.metadata.snapshot_by_sequence(sequence)
        assert earlier is not None
        self.commit(BranchWriter(self.io, "test.table").rollback(self.metadata, earlier))


def added(prepared: PreparedWrite | None) -> list[str]:
    """The data files that a write adds."""
    assert prepared is not None
    return [entry.path for entry in prepared.manifest.entries if entry.added]


class RacingMachine(CompactingMachine):
    """The merge machine whose writes are overtaken by others, by maintenance and by rollbacks."""

    kind_of_table = RacingTable

    def __init__(self) -> None:
        super().__init__()
        self.graves: dict[int, dict[Any, int]] = {}

    def remember(self) -> None:
        super().remember()
        self.graves.setdefault(self.table.metadata.last_sequence_number, dict(self.buried))

    def roll_back(self, steps: int) -> None:
        there = {
            sequence: rows for sequence, rows in self.history if self.table.metadata.snapshot_by_sequence(sequence)
        }
        if len(there) > steps:
            sequence = list(there)[-1 - steps]
            self.table.rollback(sequence)
            self.stored = {key: dict(row) for key, row in there[sequence].items()}
            self.buried = dict(self.graves[sequence])
            self.remember()

    def race(self, write: tuple[str, dict[str, Any]], meanwhile: list[tuple[str, dict[str, Any]]]) -> None:
        if write[0] == "append":  # which rows an append calls late depends on whether there are deletes
            meanwhile = [other for other in meanwhile if other[0] != "roll_back"]
        self.table.meanwhile = [lambda other=other: self.do(other) for other in meanwhile]
        self.do(write)

    def do(self, write: tuple[str, dict[str, Any]]) -> None:
        name, arguments = write
        getattr(self, name)(**arguments)


class SerializableMachine(RacingMachine):
    """Losers give up, if what they looked at has changed, and only then."""

    properties = {"write.isolation": "serializable"}  # noqa: RUF012 - nobody changes it

    def race(self, write: tuple[str, dict[str, Any]], meanwhile: list[tuple[str, dict[str, Any]]]) -> None:
        # what has expired can't be compared, and a rollback may bring the same rows back in other files
        self.comparable = {"expire", "roll_back"}.isdisjoint(name for name, _ in meanwhile)
        super().race(write, meanwhile)

    def do(self, write: tuple[str, dict[str, Any]]) -> None:
        name, arguments = write
        overtaken, before = bool(self.table.meanwhile), self.lineage()
        seen: list[dict[Any, tuple[int, int]]] = []
        self.table.meanwhile = [*self.table.meanwhile, *([lambda: seen.append(self.lineage())] if overtaken else [])]
        try:
            super().do(write)
        except WriteConflictError:
            assert self.lineage() != before or not self.comparable
            return
        if seen and name in ("upsert", "partial_update", "delete"):
            keys = self.keys_of(arguments)
            assert {key: before.get(key) for key in keys} == {key: seen[0].get(key) for key in keys}

    def keys_of(self, arguments: dict[str, Any]) -> set[Any]:
        keys = arguments.get("keys", [row[0] for row in arguments.get("rows", [])])
        return {identity(key) for key in keys}


STEPS = st.lists(
    st.tuples(WRITES, st.lists(st.one_of(WRITES, WRITES, OTHERS), max_size=3)),
    min_size=1,
    max_size=int(os.environ.get("CORDILLERA_STEPS", "8")),
)
KINDS: dict[str, tuple[type[RacingMachine], dict[str, Any]]] = {
    "merge-on-read": (RacingMachine, {}),
    "without a sequence": (RacingMachine, {"sequenced": False}),
    "copy-on-write": (RacingMachine, {"mode": WriteMode.COPY_ON_WRITE}),
    "auto": (RacingMachine, {"mode": WriteMode.AUTO, "sequenced": False}),
    "format version 2": (RacingMachine, {"sequenced": False, "format_version": 2}),
    "partitioned": (RacingMachine, {"sequenced": False, "partitioning": ("bucket(3, name)",)}),
    "serializable": (SerializableMachine, {}),
    "serializable copy-on-write": (SerializableMachine, {"mode": WriteMode.COPY_ON_WRITE, "sequenced": False}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_what_the_order_of_the_commits_says(kind: str) -> None:
    base, settings_of_table = KINDS[kind]
    racing = type("Racing", (base,), settings_of_table)
    raced = carried_over = 0

    @settings(
        max_examples=examples(12),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(steps=STEPS)
    def run(steps: list[tuple[Any, list[Any]]]) -> None:
        nonlocal raced, carried_over
        machine = racing()
        for write, meanwhile in steps:
            machine.race(write, meanwhile)
            machine.table_equals_model()
            machine.no_row_id_twice()
            raced += bool(meanwhile)
        carried_over += machine.table.carried_over
        machine.teardown()

    run()
    assert raced > carried_over > 0
