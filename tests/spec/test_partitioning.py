from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField, StringType

from cordillera.errors import InvalidSchemaError
from cordillera.spec.arrow_types import from_arrow_schema
from cordillera.spec.partitioning import describe_partitioning, parse_partitioning, taken_name

SCHEMA = from_arrow_schema(
    pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("origin", pa.string()), ("ratio", pa.float64())])
)


@pytest.mark.parametrize(
    "terms",
    [[], ["origin"], ["month(at)", "bucket(16, id)"], ["truncate(3, origin)", "year(at)"], ["hour(at)"], ["day(at)"]],
)
def test_terms_survive_a_round_trip(terms: list[str]) -> None:
    assert describe_partitioning(parse_partitioning(terms, SCHEMA), SCHEMA) == tuple(terms)


@pytest.mark.parametrize(
    "term",
    ["none", "month(none)", "month(origin)", "week(at)", "bucket(id)", "bucket(0, id)", "month(at", "", "a b(c)"],
)
def test_terms_that_cannot_be_are_refused(term: str) -> None:
    with pytest.raises(InvalidSchemaError, match="partitioning"):
        parse_partitioning([term], SCHEMA)


def test_the_same_term_twice_is_refused() -> None:
    with pytest.raises(InvalidSchemaError, match="twice"):
        parse_partitioning(["origin", "origin"], SCHEMA)


def test_parts_of_the_same_time_are_refused() -> None:
    with pytest.raises(InvalidSchemaError, match="shortest"):
        parse_partitioning(["day(at)", "year(at)"], SCHEMA)


def test_a_partition_field_is_not_called_like_another_column() -> None:
    schema = from_arrow_schema(pa.schema([("at", pa.date32()), ("AT_month", pa.string()), ("id", pa.int64())]))
    spec = parse_partitioning(["month(at)", "bucket(4, id)"], schema)
    assert [field.name for field in spec.fields] == ["at_month_2", "id_bucket"]
    later = parse_partitioning(["bucket(8, id)", "AT_month"], schema, [spec], 1001)
    assert [field.name for field in later.fields] == ["id_bucket_8", "AT_month"]


def test_a_column_takes_no_name_of_a_partition_field() -> None:
    spec = parse_partitioning(["origin", "month(at)"], SCHEMA)
    assert taken_name(SCHEMA, [spec]) is None
    fields = [*SCHEMA.fields[:2], NestedField(9, "At_Month", StringType()), *SCHEMA.fields[2:]]
    assert (taken_name(Schema(*fields), [spec]) or ("",))[0] == "At_Month"
    moved = Schema(NestedField(3, "from", StringType()), NestedField(9, "origin", StringType()))
    assert (taken_name(moved, [spec]) or ("",))[0] == "origin"


TERMS = [
    *("id", "at", "origin", "day(at)", "month(at)", "year(at)"),
    *("bucket(4, id)", "bucket(8, id)", "bucket(4, origin)"),
    *("truncate(4, id)", "truncate(4, origin)", "truncate(9, origin)"),
]


def agree(terms: list[str]) -> bool:
    return len(set(terms) & {"day(at)", "month(at)", "year(at)"}) < 2


@given(st.lists(st.lists(st.sampled_from(TERMS), max_size=4, unique=True).filter(agree), min_size=1, max_size=8))
def test_partitionings_evolve_as_iceberg_has_it(history: list[list[str]]) -> None:
    """Against a model that knows terms only: a term has one field id for ever, a list of terms one spec id."""
    specs: list[PartitionSpec] = []
    last, ids, numbers = 999, dict[str, int](), dict[tuple[str, ...], int]()
    for terms in history:
        spec = parse_partitioning(terms, SCHEMA, specs, last)
        for term in terms:
            ids.setdefault(term, 1000 + len(ids))
        assert [field.field_id for field in spec.fields] == [ids[term] for term in terms]
        assert spec.spec_id == numbers.setdefault(tuple(terms), len(numbers))
        assert describe_partitioning(spec, SCHEMA) == tuple(terms)
        specs += [spec] if spec not in specs else []
        last = max([last, *ids.values()])
    names = {field.field_id: field.name for spec in specs for field in spec.fields}
    assert len(set(names.values())) == len(names)  # no two fields of the table have one name
    assert all(field.name == names[field.field_id] for spec in specs for field in spec.fields)
    assert taken_name(SCHEMA, specs) is None
