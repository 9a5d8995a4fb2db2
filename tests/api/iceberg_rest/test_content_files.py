"""Content files in JSON: every type of value, and deletes of every kind."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import orjson
import pyarrow as pa
import pytest
from pyiceberg.types import TimestampNanoType, TimestamptzNanoType

from cordillera.api.iceberg_rest.content_files import _plain, content_file_to_plain
from cordillera.spec.merge import Operation
from tests.table.foreign_deletes import commit, equality_deletes, live, position_deletes
from tests.table.harness import LooseTable

VALUES = {
    "boolean": (pa.bool_(), True, True),
    "int": (pa.int32(), -5, -5),
    "long": (pa.int64(), 2**60, 2**60),
    "double": (pa.float64(), 1.5, 1.5),
    "decimal": (pa.decimal128(9, 2), Decimal("-0.50"), "-0.50"),
    "date": (pa.date32(), date(1969, 12, 31), "1969-12-31"),
    "time": (pa.time64("us"), time(22, 31, 8, 123456), "22:31:08.123456"),
    "timestamp": (pa.timestamp("us"), datetime(2007, 12, 3, 10, 15, 30), "2007-12-03T10:15:30"),
    "timestamptz": (pa.timestamp("us", "UTC"), datetime(1960, 1, 1, tzinfo=UTC), "1960-01-01T00:00:00+00:00"),
    "string": (pa.string(), "ü", "ü"),
    "uuid": (pa.uuid(), UUID(int=7), str(UUID(int=7))),
    "binary": (pa.binary(), b"xyz", "78797A"),
    "fixed": (pa.binary(3), b"xyz", "78797A"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_written_as_the_specification_says(tmp_path: Path, kind: str) -> None:
    arrow, value, expected = VALUES[kind]
    partitioning = ("v",) if kind not in ("double",) else ()
    table = LooseTable(tmp_path, pa.schema([("id", pa.int64()), ("v", arrow)]), partitioning=partitioning)
    table.write(Operation.APPEND, pa.table({"id": pa.array([1]), "v": pa.array([value], arrow)}))
    [found] = live(table)
    plain = orjson.loads(orjson.dumps(content_file_to_plain(found.file, table.metadata, {1, 2})))
    assert plain["partition"] == ([expected] if partitioning else [])
    bounds = dict(zip(plain["lower-bounds"]["keys"], plain["lower-bounds"]["values"], strict=True))
    assert bounds[1] == 1
    assert bounds.get(2, expected) == expected
    assert plain["value-counts"] == {"keys": [1, 2], "values": [1, 1]}


def test_nanoseconds_are_written_as_the_specification_says() -> None:
    nanoseconds = 1_196_676_930_123_456_789
    assert _plain(TimestampNanoType(), nanoseconds) == "2007-12-03T10:15:30.123456789"
    assert _plain(TimestamptzNanoType(), nanoseconds) == "2007-12-03T10:15:30.123456789+00:00"
    assert _plain(TimestampNanoType(), -1) == "1969-12-31T23:59:59.999999999"


def test_what_is_no_number_is_told_by_name(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, pa.schema([("v", pa.float64())]), partitioning=("v",))
    table.write(Operation.APPEND, pa.table({"v": [float("nan"), float("inf"), float("-inf"), None, 2.5]}))
    found = [content_file_to_plain(one.file, table.metadata)["partition"][0] for one in live(table)]
    assert sorted(found, key=str) == ["-Infinity", 2.5, "Infinity", "NaN", None]


def test_delete_files_say_what_they_delete_by(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, pa.schema([("id", pa.int64()), ("name", pa.string())]), format_version=2)
    table.write(Operation.APPEND, pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]}))
    [before] = live(table)
    commit(table, position_deletes(table, {before.path: [0]}))
    commit(table, equality_deletes(table, ["name"], [{"name": "b"}]))
    [after] = live(table)
    first, second = (content_file_to_plain(one.file, table.metadata) for one in after.deletes)
    assert (first["content"], "equality-ids" in first) == ("position-deletes", False)
    assert (second["content"], second["equality-ids"], second["record-count"]) == ("equality-deletes", [2], 1)


def test_a_partition_of_a_column_that_was_dropped_is_told(tmp_path: Path) -> None:
    from cordillera.spec.schema_evolution import DropColumn

    table = LooseTable(tmp_path, pa.schema([("id", pa.int64()), ("day", pa.date32())]), partitioning=("day",))
    table.write(Operation.APPEND, pa.table({"id": [1], "day": pa.array([date(2024, 1, 1)])}))
    table.partition_by()
    table.evolve(DropColumn("day"))
    [found] = live(table)
    assert content_file_to_plain(found.file, table.metadata)["partition"] == ["2024-01-01"]
    forgotten = table.metadata.with_changes(schemas=table.metadata.schemas[1:])
    assert content_file_to_plain(found.file, forgotten)["partition"] == [19723]
