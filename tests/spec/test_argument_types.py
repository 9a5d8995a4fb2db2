"""Programs that give something of another type are told what it was for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from cordillera.catalog.requests import CommitRequest
from cordillera.errors import InvalidInputError
from cordillera.spec.arrow_types import from_arrow_schema
from cordillera.spec.durations import in_hours
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.names import check_column_name, check_name, check_namespace_name, parse_dataset_ref
from cordillera.spec.partitioning import parse_partitioning
from cordillera.spec.refs import check_ref_name
from cordillera.spec.schema_evolution import evolve

SCHEMA = from_arrow_schema(pa.schema([("id", pa.int64())]))
TAKE: dict[str, Callable[[Any], object]] = {
    "dataset name": parse_dataset_ref,
    "namespace name": check_namespace_name,
    "job name": lambda value: check_name(value, "job"),
    "column name": check_column_name,
    "branch or tag": check_ref_name,
    "condition on rows": lambda value: parse_row_filter(value, SCHEMA),
    "partitioning": lambda value: parse_partitioning([value], SCHEMA),
    "length of time": in_hours,
    "change of a schema": lambda value: evolve(SCHEMA, [value], last_column_id=1, new_schema_id=1),
    "idempotency key": lambda value: CommitRequest(idempotency_key=value),
}


@pytest.mark.parametrize("what", TAKE)
@pytest.mark.parametrize("value", [5, float("nan"), b"x", ["a"], object()])
def test_another_type_is_told_by_what_it_was_for(what: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=what):
        TAKE[what](value)


def test_lengths_of_time_are_hours() -> None:
    assert in_hours(timedelta(minutes=90)) == 1.5
