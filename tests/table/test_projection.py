from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import ListType, LongType, MapType, NestedField, StringType, StructType

import cordillera
from cordillera.spec.arrow_types import to_arrow_schema
from cordillera.table.projection import file_columns, project


def struct(*fields: tuple[int, str, Any]) -> StructType:
    return StructType(*(NestedField(number, name, kind) for number, name, kind in fields))


def schema(inner: StructType) -> Schema:
    return Schema(
        NestedField(1, "many", ListType(element_id=4, element_type=inner)),
        NestedField(2, "named", MapType(5, StringType(), 6, ListType(element_id=7, element_type=inner))),
    )


@pytest.mark.parametrize("part", [slice(None), slice(1, None), slice(2, 3)], ids=str)
def test_structs_in_lists_and_maps_are_found_by_field_id(part: slice) -> None:
    stored = schema(struct((10, "a", LongType()), (11, "b", StringType()), (12, "gone", LongType())))
    wanted = schema(struct((11, "a", StringType()), (10, "number", LongType()), (13, "new", StringType())))
    old = {"a": 5, "b": "x", "gone": 1}
    new = {"a": "x", "number": 5, "new": None}

    def rows(value: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"many": [value, None], "named": [("k", [value]), ("l", None)]},
            {"many": None, "named": None},
            {"many": [], "named": []},
            {"many": [None, value], "named": [("m", [None, value])]},
        ]

    in_file = to_arrow_schema(stored)
    whole = pa.RecordBatch.from_pylist(rows(old), schema=in_file)
    batch = whole.slice(part.start or 0, (part.stop or 4) - (part.start or 0))
    columns = project(batch, file_columns(in_file, wanted), wanted)
    found = pa.RecordBatch.from_arrays(columns, schema=to_arrow_schema(wanted))
    found.validate(full=True)
    assert found.to_pylist() == rows(new)[part]


@pytest.mark.parametrize("mode", ["merge-on-read", "copy-on-write"])
def test_uuids_inside_structs_live_through_every_kind_of_write(tmp_path: Path, mode: str) -> None:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("n")
        kind = pa.struct([pa.field("u", pa.uuid())])
        dataset = lake.create_dataset("n.d", {"id": pa.int64(), "s": kind}, key=["id"], write_mode=mode)

        def rows(numbers: dict[int, int]) -> pa.Table:
            uuids = pa.array([UUID(int=n).bytes for n in numbers.values()], pa.binary(16))
            nested = pa.StructArray.from_arrays(
                [pa.ExtensionArray.from_storage(pa.uuid(), uuids)], fields=[pa.field("u", pa.uuid())]
            )
            return pa.table({"id": pa.array(list(numbers)), "s": nested})

        dataset.write(rows({1: 1, 2: 2, 3: 3}), "append")
        dataset.write(rows({2: 20}), "upsert")
        dataset.write([{"id": 1}], "delete")
        found = {row["id"]: row["s"]["u"] for row in dataset.scan().to_arrow().to_pylist()}
        assert {number: UUID(bytes=u) if isinstance(u, bytes) else u for number, u in found.items()} == {
            2: UUID(int=20),
            3: UUID(int=3),
        }
