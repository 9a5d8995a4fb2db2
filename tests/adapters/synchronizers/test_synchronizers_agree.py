"""Random deliveries, schema changes among them, leave the same rows in every kind of target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from tests.adapters.synchronizers import clickhouse_stand_in
from tests.adapters.synchronizers.redshift_stand_in import StandIn
from tests.servers_mariadb import MariaDB

from cordillera.adapters.synchronizers.duckdb import DuckDBSynchronizer
from cordillera.adapters.synchronizers.postgres import PostgresSynchronizer
from cordillera.ports.synchronizer import Synchronizer, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import deliver, field, rows_of
from cordillera.testing.synchronizer_memory import MemorySynchronizer

STEPS = 12
NAMES = ("a", "b", "c d", "select", "É")
WIDER = {pa.int32(): pa.int64(), pa.float32(): pa.float64(), pa.decimal128(6, 2): pa.decimal128(12, 2)}


class RandomDataset:
    """A dataset whose schema and rows change at random."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.last_field_id = 0
        key = (self.column("k1", pa.int32(), False), self.column("k2", pa.string(), False))
        self.table = TargetTable("agreed", (*key, self.column("a", self.some_type())), ("k1", "k2"))

    def next_id(self) -> int:
        self.last_field_id += 1
        return self.last_field_id

    def column(self, name: str, kind: pa.DataType, nullable: bool = True) -> TargetColumn:
        return TargetColumn(self.next_id(), name, kind, nullable)

    def some_type(self, depth: int = 0) -> pa.DataType:
        choices: list[Any] = [*WIDER, pa.string(), pa.date32(), pa.timestamp("us", "UTC"), pa.binary()]
        if depth < 2:
            choices += ["struct", "struct", "list", "map"]
        match self.random.choice(choices):
            case "struct":
                names = self.random.sample(NAMES, self.random.randint(1, 3))
                return pa.struct([field(self.next_id(), name, self.some_type(depth + 1)) for name in names])
            case "list":
                return pa.list_(field(self.next_id(), "element", self.some_type(depth + 1)))
            case "map":
                return pa.map_(pa.string(), field(self.next_id(), "value", self.some_type(depth + 1)))
            case kind:
                return kind

    def changed_type(self, kind: pa.DataType) -> pa.DataType:
        """Widen a type, or change the fields of structs inside it."""
        if pa.types.is_list(kind):
            return pa.list_(kind.value_field.with_type(self.changed_type(kind.value_type)))
        if pa.types.is_map(kind):
            return pa.map_(kind.key_type, kind.item_field.with_type(self.changed_type(kind.item_type)))
        if not pa.types.is_struct(kind):
            return WIDER.get(kind, kind)
        kept = [f.with_type(self.changed_type(f.type)) for f in kind if self.random.random() < 0.8]
        names = self.random.sample(NAMES, len(kept) + 1)
        renamed = [f.with_name(name) for f, name in zip(kept, names, strict=False)]
        self.random.shuffle(renamed)
        return pa.struct([*renamed, field(self.next_id(), names[-1], self.some_type(2))])

    def evolve(self) -> None:
        """Drop, rename, widen and add columns; the key may be renamed and widened."""
        key, others = self.table.columns[:2], list(self.table.columns[2:])
        others = [c for c in others if self.random.random() < 0.8]
        others = [replace(c, type=self.changed_type(c.type)) if self.random.random() < 0.4 else c for c in others]
        if len(others) < 4:
            others.append(self.column("new", self.some_type()))
        names = self.random.sample(NAMES, len(others))
        others = [replace(c, name=name) for c, name in zip(others, names, strict=True)]
        swapped = (replace(key[0], name=key[1].name, type=pa.int64()), replace(key[1], name=key[0].name))
        key = self.random.choice((key, swapped))
        self.table = replace(self.table, columns=(*key, *others), key=(key[0].name, key[1].name))

    def rows(self, keys: list[int]) -> list[dict[str, Any]]:
        columns = self.table.columns
        return [
            {columns[0].name: key, columns[1].name: f"k{key}"} | {c.name: self.value(c.type) for c in columns[2:]}
            for key in keys
        ]

    def value(self, kind: pa.DataType) -> Any:
        if self.random.random() < 0.2:
            return None
        if pa.types.is_struct(kind):
            return {f.name: self.value(f.type) for f in kind}
        if pa.types.is_list(kind):
            return [self.value(kind.value_type) for _ in range(self.random.randint(0, 3))]
        if pa.types.is_map(kind):
            return [(key, self.value(kind.item_type)) for key in self.random.sample(NAMES, self.random.randint(0, 3))]
        number = self.random.randint(-99, 99)
        if pa.types.is_string(kind):
            return self.random.choice(["", "x", 'q"\\', "é\n", f"{number}"])
        if pa.types.is_binary(kind):
            return bytes([abs(number)] * (number % 3))
        if pa.types.is_floating(kind):
            return number / 7 if kind == pa.float64() else number / 8
        return pa.scalar(number * 1000, pa.int64()).cast(pa.int32()).as_py() if pa.types.is_date(kind) else number

    def keys(self, chosen: list[int]) -> list[dict[str, Any]]:
        k1, k2 = self.table.key
        return [{k1: key, k2: f"k{key}"} for key in chosen]


@pytest.mark.parametrize("seed", [*range(6), pytest.param(6, marks=pytest.mark.long)])
def test_targets_agree_after_every_delivery(
    seed: int,
    postgres_dsn: str,
    redshift: StandIn,
    clickhouse: clickhouse_stand_in.StandIn,
    mariadb: MariaDB,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    targets: list[Synchronizer] = [
        MemorySynchronizer(),
        PostgresSynchronizer(postgres_dsn),
        DuckDBSynchronizer(tmp_path / "t.duckdb"),
    ]
    if seed == 0:
        targets.append(redshift.target())
    if seed == 1:
        targets.append(clickhouse.target())
    if seed in (2, 3):
        targets.append(mariadb.target())
    if seed == 6:  # an emulator that costs more than a server
        targets.append(request.getfixturevalue("snowflake").target())
    dataset = RandomDataset(seed)
    step: tuple[Any, Any] = (None, (1, 0))
    for number in range(1, STEPS + 1):
        chosen = dataset.random.sample(range(30), dataset.random.randint(0, 20))
        upserted = chosen[: dataset.random.randint(0, len(chosen))]
        replacing = number == 1 or dataset.random.random() < 0.1
        deletes = [] if replacing else dataset.keys(chosen[len(upserted) :])
        delivery = deliver(dataset.table, step, dataset.rows(upserted), deletes, replacing=replacing)
        results = [target.apply(delivery) for target in targets]
        assert len({(r.rows_upserted, r.already_applied) for r in results}) == 1
        if not replacing:
            assert len({r.rows_deleted for r in results}) == 1
        memory, *others = (rows_of(target, dataset.table) for target in targets)
        assert all(rows == memory for rows in others)
        if dataset.random.random() < 0.6:
            dataset.evolve()
        step = step[1], (number + 1, number)
