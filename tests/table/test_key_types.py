"""Keys of every type a key can have: found again, replaced and deleted, whatever the values."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from cordillera.errors import (
    DuplicateKeyError,
    InvalidSchemaError,
    MissingKeyError,
    NullKeyError,
    TypeMismatchError,
    UnknownColumnError,
)
from cordillera.spec.merge import Operation, WriteMode
from tests.table.harness import LooseTable

ZONE = ZoneInfo("UTC")
KEYS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "bool": (pa.bool_(), [True, False]),
    "int": (pa.int32(), [0, -1, 2**31 - 1, -(2**31)]),
    "long": (pa.int64(), [0, 2**63 - 1, -(2**63)]),
    "float": (pa.float32(), [0.0, math.nan, math.inf, -math.inf, 1.5]),
    "double": (pa.float64(), [-0.0, math.nan, math.inf, 1e-300, 1e300]),
    "decimal": (pa.decimal128(38, 4), [Decimal("0.0000"), Decimal("-9999999999999999999999999999999999.9999")]),
    "small-decimal": (pa.decimal128(7, 2), [Decimal("0.01"), Decimal("-99999.99")]),
    "date": (pa.date32(), [date(1970, 1, 1), date(1, 1, 1), date(9999, 12, 31)]),
    "time": (pa.time64("us"), [time(0), time(23, 59, 59, 999_999)]),
    "timestamp": (pa.timestamp("us"), [datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(2262, 4, 12)]),
    "timestamptz": (pa.timestamp("us", "UTC"), [datetime(2013, 1, 1, tzinfo=ZONE), datetime(1900, 1, 1, tzinfo=ZONE)]),
    "string": (pa.string(), ["", " ", "x", "X", "é", "e\u0301", "\U0001f600", "a" * 100, "a" * 99 + "b", "\x00"]),
    "uuid": (pa.uuid(), [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid5(uuid.NAMESPACE_DNS, "x")]),
    "fixed": (pa.binary(3), [b"\x00\x00\x00", b"\xff\xff\xff"]),
    "binary": (pa.binary(), [b"", b"\x00", b"\xff" * 50, b"abc"]),
}
MODES = list(WriteMode)


def batch(kind: pa.DataType, keys: list[Any], value: int) -> pa.Table:
    raw = [key.bytes if isinstance(key, uuid.UUID) else key for key in keys]
    column = pa.array(raw, pa.binary(16)).cast(kind) if isinstance(kind, pa.UuidType) else pa.array(raw, kind)
    return pa.table({"k": column, "v": pa.array([value] * len(keys), pa.int64())})


def stored(table: LooseTable) -> dict[str, int]:
    return {repr(row["k"]): row["v"] for row in table.rows().to_pylist()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", KEYS)
def test_keys_of_every_type(tmp_path: Path, name: str, mode: WriteMode) -> None:
    kind, keys = KEYS[name]
    table = LooseTable(tmp_path, pa.schema([("k", kind), ("v", pa.int64())]), key=("k",), mode=mode)
    table.write(Operation.APPEND, batch(kind, keys, 1))
    assert stored(table) == {repr(key): 1 for key in keys}
    with pytest.raises(DuplicateKeyError):
        table.write(Operation.APPEND, batch(kind, keys[:1], 9))
    table.write(Operation.UPSERT, batch(kind, keys[1:], 2))
    assert stored(table) == {repr(key): 1 if index == 0 else 2 for index, key in enumerate(keys)}
    table.write(Operation.DELETE, batch(kind, keys[:1], 0))
    assert stored(table) == {repr(key): 2 for key in keys[1:]}
    table.write(Operation.UPSERT, batch(kind, keys[:1], 3))
    table.write(Operation.DELETE, batch(kind, keys[1:], 0))
    assert stored(table) == {repr(keys[0]): 3}


@pytest.mark.parametrize("mode", MODES)
def test_zero_and_minus_zero_are_one_key(tmp_path: Path, mode: WriteMode) -> None:
    table = LooseTable(tmp_path, pa.schema([("k", pa.float64()), ("v", pa.int64())]), key=("k",), mode=mode)
    table.write(Operation.UPSERT, [{"k": -0.0, "v": 1}])
    assert math.copysign(1, table.rows().column("k")[0].as_py()) == -1
    table.write(Operation.UPSERT, [{"k": 0.0, "v": 2}])
    assert table.rows().to_pylist() == [{"k": 0.0, "v": 2}]
    with pytest.raises(DuplicateKeyError, match="k="):
        table.write(Operation.UPSERT, [{"k": 0.0, "v": 2}, {"k": -0.0, "v": 3}])


def test_instants_are_one_key_in_every_zone(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, pa.schema([("k", pa.timestamp("us", "UTC")), ("v", pa.int64())]), key=("k",))
    table.write(Operation.UPSERT, [{"k": datetime(2013, 1, 1, 12, tzinfo=UTC), "v": 1}])
    local = pa.array([1_357_041_600_000_000], pa.timestamp("us", "America/New_York"))
    table.write(Operation.UPSERT, pa.table({"k": local, "v": pa.array([2], pa.int64())}))
    assert table.rows().column("v").to_pylist() == [2]


def test_null_keys_are_refused_and_named(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("s", pa.int64())])
    table = LooseTable(tmp_path, schema, key=("a", "b"), sequence="s")
    with pytest.raises(NullKeyError, match="'b'") as error:
        table.write(Operation.UPSERT, pa.table({"a": [1, 2], "b": ["x", None], "s": [1, 1]}))
    assert error.value.details["first_rows"] == [1]
    with pytest.raises(NullKeyError, match="'s'"):
        table.write(Operation.UPSERT, pa.table({"a": [1], "b": ["x"], "s": pa.array([None], pa.int64())}))
    assert table.metadata.current_snapshot is None
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("sequence", [None, "s"])
def test_duplicates_in_a_batch(tmp_path: Path, sequence: str | None) -> None:
    schema = pa.schema([("a", pa.int64()), ("v", pa.string()), ("s", pa.int64())])
    table = LooseTable(tmp_path, schema, key=("a",), sequence=sequence)
    rows = pa.table({"a": [1, 1, 2], "v": ["old", "new", "x"], "s": [1, 2, 1]})
    for operation in (Operation.UPSERT, Operation.APPEND, Operation.REPLACE):
        if sequence is None:
            with pytest.raises(DuplicateKeyError, match="a=1"):
                table.write(operation, rows)
            continue
        table.write(Operation.REPLACE, rows.slice(0, 0))
        table.write(operation, rows)
        assert {r["a"]: r["v"] for r in table.rows().to_pylist()} == {1: "new", 2: "x"}
    tie = pa.table({"a": [1, 1], "v": ["p", "q"], "s": [7, 7]})
    with pytest.raises(DuplicateKeyError, match="a=1"):
        table.write(Operation.UPSERT, tie)


def test_only_keys_that_do_not_ascend_are_looked_at_again(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, pa.schema([("k", pa.int64()), ("v", pa.int64())]), key=("k",))
    behind = [batch(pa.int64(), keys, 0) for keys in ([1, 2], [], [3, 4])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table.io.reader, "stream", lambda *_: pytest.fail("the rows are read again"))
        table.write(Operation.REPLACE, pa.concat_tables(behind))
    with pytest.raises(DuplicateKeyError, match="k=4"):
        table.write(Operation.REPLACE, pa.concat_tables([*behind, batch(pa.int64(), [4, 5], 0)]))
    assert stored(table).keys() == {"1", "2", "3", "4"}


@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        (pa.table({"a": [1], "zz": ["x"]}), UnknownColumnError, "'zz'"),
        (pa.table({"v": ["x"], "s": [1]}), MissingKeyError, "'a'"),
        (pa.table({"a": [1], "v": ["x"]}), MissingKeyError, "lack"),
        (pa.table({"a": ["one"], "v": ["x"], "s": [1]}), TypeMismatchError, "'a' is declared int64"),
        (pa.table({"a": [1.5], "v": ["x"], "s": [1]}), TypeMismatchError, "'a'"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, rows: pa.Table, error: type[Exception], says: str) -> None:
    schema = pa.schema([("a", pa.int64()), ("v", pa.string()), ("s", pa.int64())])
    table = LooseTable(tmp_path, schema, key=("a",), sequence="s")
    with pytest.raises(error, match=says):
        table.write(Operation.UPSERT, rows)
    assert not list(tmp_path.rglob("*.parquet"))


def test_keyed_operations_need_a_key(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, pa.schema([("a", pa.int64())]))
    table.write(Operation.APPEND, [{"a": 1}, {"a": 1}])
    with pytest.raises(MissingKeyError, match="no key"):
        table.write(Operation.UPSERT, [{"a": 1}])
    assert table.rows().num_rows == 2


def test_keys_cannot_be_nested() -> None:
    with pytest.raises(InvalidSchemaError, match="primitive"):
        LooseTable(Path("/nonexistent"), pa.schema([("k", pa.list_(pa.int64()))]), key=("k",))
