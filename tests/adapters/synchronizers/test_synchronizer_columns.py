from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from cordillera.adapters.synchronizers.columns import (
    columns_from_json,
    columns_to_json,
    field_pairs,
    is_supported,
    plan_evolution,
    same,
    type_from_json,
)
from cordillera.adapters.synchronizers.deliveries import check_table
from cordillera.errors import CorruptDataError, IncompatibleSchemaError, InvalidSchemaError, MissingKeyError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import ORDERS, all_types, field


def test_columns_come_back_from_json_with_nested_field_ids() -> None:
    columns = tuple(
        TargetColumn(number, name, values.type, bool(number % 2), doc=name * (number % 3) or None)
        for number, (name, values) in enumerate(all_types().items())
    )
    assert all(is_supported(column.type) for column in columns)
    found = columns_from_json(json.loads(json.dumps(columns_to_json(columns))))
    assert found == columns
    assert all(same(old.type, new.type) for old, new in zip(columns, found, strict=True))


def test_unknown_type_in_the_cursor_table_is_corruption() -> None:
    with pytest.raises(CorruptDataError, match="'money'"):
        type_from_json("money")


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint64(), pa.large_string(), pa.duration("s"), pa.list_(pa.float16()), pa.decimal256(50, 2)],
    ids=str,
)
def test_types_that_no_dataset_has_are_refused(kind: pa.DataType) -> None:
    with pytest.raises(InvalidSchemaError, match="'odd'"):
        check_table(replace(ORDERS, columns=(*ORDERS.columns, TargetColumn(9, "odd", kind))))


def test_table_needs_columns_and_its_key_among_them() -> None:
    with pytest.raises(InvalidSchemaError):
        check_table(TargetTable("t", (), ()))
    with pytest.raises(MissingKeyError, match="'nowhere'"):
        check_table(replace(ORDERS, key=("nowhere",)))


def test_unchanged_columns_need_no_evolution() -> None:
    evolution = plan_evolution(ORDERS.columns, (1,), replace(ORDERS, columns=ORDERS.columns[::-1]))
    assert not any(getattr(evolution, part) for part in evolution.__slots__)


def test_renaming_steps_never_meet_a_taken_name() -> None:
    columns = tuple(TargetColumn(n, name, pa.string()) for n, name in enumerate("abcd"))
    renamed = tuple(replace(c, name=name) for c, name in zip(columns, "badc", strict=True))
    evolution = plan_evolution(columns, (), TargetTable("t", renamed, ()))
    names = set("abcd")
    for old, new in evolution.renaming_steps():
        assert old in names
        assert new not in names
        names = names - {old} | {new}
    assert names == set("abcd")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.int64(), pa.int32()),
        (pa.float64(), pa.float32()),
        (pa.int32(), pa.float64()),
        (pa.decimal128(10, 2), pa.decimal128(9, 2)),
        (pa.decimal128(10, 2), pa.decimal128(20, 3)),
        (pa.string(), pa.binary()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.int32(), pa.list_(pa.int32())),
        (pa.list_(pa.int64()), pa.list_(pa.int32())),
        (pa.list_(pa.int32()), pa.map_(pa.int32(), pa.int32())),
        (pa.struct([field(5, "a", pa.int32())]), pa.struct([field(5, "b", pa.string())])),
    ],
    ids=str,
)
def test_types_only_widen(old: pa.DataType, new: pa.DataType) -> None:
    table = TargetTable("t", (TargetColumn(1, "c", new),), ())
    with pytest.raises(IncompatibleSchemaError, match="'c"):
        plan_evolution((TargetColumn(1, "c", old),), (), table)


def test_fields_of_structs_are_paired_by_field_id() -> None:
    old = pa.struct([field(1, "a", pa.int32()), field(2, "b", pa.int32())])
    new = pa.struct([field(2, "a", pa.int32()), field(3, "b", pa.int32()), field(1, "c", pa.int64())])
    assert [(b and b.name, now.name) for b, now in field_pairs(old, new)] == [("b", "a"), (None, "b"), ("a", "c")]
    unnumbered = pa.struct([pa.field("x", pa.int32())])
    assert [(b and b.name, now.name) for b, now in field_pairs(unnumbered, unnumbered)] == [("x", "x")]
