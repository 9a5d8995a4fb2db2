from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.adapters.synchronizers.text import JsonReader, from_hex, to_hex, to_json
from cordillera.errors import TypeMismatchError
from cordillera.testing.synchronizer_deliveries import array_of

LEAVES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.bool_(), st.booleans()),
    (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.string(), st.text(st.characters(exclude_characters="\x00", codec="utf-8"))),
    (pa.binary(), st.binary()),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.decimal128(38, 5), st.decimals("-1e30", "1e30", places=5)),
    (pa.date32(), st.dates()),
    (pa.time64("us"), st.times()),
    (pa.timestamp("us"), st.datetimes()),
    (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
]


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Strategies of (type, strategy of values) around others."""

    def struct(fields: list[Any]) -> Any:
        names = [f"f {n}" for n in range(len(fields))]
        kind = pa.struct([pa.field(name, k) for name, (k, _) in zip(names, fields, strict=True)])
        return kind, st.fixed_dictionaries(dict(zip(names, (st.none() | v for _, v in fields), strict=True)))

    def mapping(pair: Any) -> Any:
        (key_type, keys), (item_type, items) = pair
        return pa.map_(key_type, item_type), st.lists(st.tuples(keys, st.none() | items), max_size=3)

    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(struct),
        inner.map(lambda f: (pa.list_(f[0]), st.lists(st.none() | f[1], max_size=3))),
        st.tuples(st.sampled_from(LEAVES), inner).map(mapping),
    )


@st.composite
def nested_arrays(draw: st.DrawFn) -> pa.Array:
    kind, values = draw(_nested(st.recursive(st.sampled_from(LEAVES), _nested, max_leaves=4)))
    found = pa.array(draw(st.lists(st.none() | values, max_size=6)), kind)
    start = draw(st.integers(0, len(found)))
    return found.slice(start, draw(st.integers(0, len(found) - start)))


@settings(max_examples=150, deadline=None)
@given(nested_arrays())
def test_nested_values_come_back_from_json(values: pa.Array) -> None:
    text = to_json(values, "column")
    for document in text.to_pylist():
        assert document is None or json.loads(document) is not None
    with JsonReader() as reader:
        found = reader.from_json(text, values.type, "column")
    assert found.type == values.type
    assert repr(found.to_pylist()) == repr(values.to_pylist())


@given(st.lists(st.none() | st.binary()), st.integers(0, 5))
def test_bytes_come_back_from_hexadecimal(values: list[bytes | None], start: int) -> None:
    column = pa.array(values, pa.binary())[start:]
    text = to_hex(column)
    assert text.to_pylist() == [None if value is None else value.hex() for value in values[start:]]
    assert from_hex(text, pa.binary()).equals(column)


def test_uuids_come_back_from_hexadecimal() -> None:
    column = array_of(pa.uuid(), [UUID(int=1).bytes, None, UUID(int=2**127).bytes])[1:]
    assert to_hex(column).to_pylist() == [None, UUID(int=2**127).hex]
    assert from_hex(to_hex(column), pa.uuid()).equals(column)


def test_json_is_what_readers_expect() -> None:
    kind = pa.struct(
        [
            pa.field("n", pa.int64()),
            pa.field("x", pa.list_(pa.float64())),
            pa.field("price", pa.decimal128(5, 2)),
            pa.field('a "quoted" näme', pa.string()),
            pa.field("raw", pa.binary()),
            pa.field("day", pa.date32()),
            pa.field("at", pa.timestamp("us", "UTC")),
            pa.field("time", pa.time64("us")),
            pa.field("m", pa.map_(pa.string(), pa.bool_())),
        ]
    )
    value = {
        "n": 2**53 + 1,
        "x": [1.5, float("nan"), float("-inf"), -0.0, None],
        "price": Decimal("1.50"),
        'a "quoted" näme': 'tab\t "q" \\ \x1f',
        "raw": b"\x00\xff",
        "day": date(2024, 1, 2),
        "at": datetime(2024, 1, 2, 3, 4, 5, 6, UTC),
        "time": time(1, 2, 3),
        "m": [("k", True), ("l", None)],
    }
    column = pa.array([value, None, {}], kind)
    document, nothing, empty = to_json(column, "c").to_pylist()
    assert json.loads(document) == {
        "n": 2**53 + 1,
        "x": [1.5, "NaN", "-Infinity", "-0.0", None],
        "price": "1.50",
        'a "quoted" näme': 'tab\t "q" \\ \x1f',
        "raw": "00ff",
        "day": "2024-01-02",
        "at": "2024-01-02T03:04:05.000006Z",
        "time": "01:02:03.000000",
        "m": [{"key": "k", "value": True}, {"key": "l", "value": None}],
    }
    assert nothing is None
    assert json.loads(empty) == dict.fromkeys(value)


def test_uuids_in_json_have_their_usual_form() -> None:
    uuid = UUID("12345678-1234-5678-1234-567812345678")
    column = pa.StructArray.from_arrays([array_of(pa.uuid(), [uuid.bytes, None])], fields=[pa.field("u", pa.uuid())])
    text = to_json(column, "c")
    assert [json.loads(document) for document in text.to_pylist()] == [{"u": str(uuid)}, {"u": None}]
    with JsonReader() as reader:
        assert reader.from_json(text, column.type, "c").equals(column)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("{", pa.list_(pa.int64())), ('["x"]', pa.list_(pa.int64())), ("[]", pa.struct([pa.field("a", pa.int64())]))],
)
def test_other_json_is_refused_naming_the_column(text: str, kind: pa.DataType) -> None:
    with JsonReader() as reader, pytest.raises(TypeMismatchError, match="'odd'"):
        reader.from_json(pa.array([text]), kind, "odd")
