from __future__ import annotations

import pyarrow as pa
import pytest

from cordillera.errors import InvalidSchemaError
from cordillera.spec.arrow_types import from_arrow_schema
from cordillera.spec.partitioning import describe_partitioning, parse_partitioning

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
