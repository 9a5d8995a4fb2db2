from __future__ import annotations

from datetime import date, datetime

import pytest

from cordillera.errors import InvalidPartitionError
from cordillera.spec.completion import parse_unit, partition_label


@pytest.mark.parametrize(
    ("unit", "value", "label"),
    [
        ("day", "2013-01-31", "2013-01-31"),
        ("day", date(2013, 1, 31), "2013-01-31"),
        ("day", datetime(2013, 1, 31, 23), "2013-01-31"),
        ("hour", datetime(2013, 1, 31, 7, 59), "2013-01-31T07"),
        ("month", date(2013, 1, 31), "2013-01"),
        ("week", date(2012, 12, 31), "2013-W01"),
        ("week", "2013-W05", "2013-W05"),
        ("whole", "all", "all"),
        ("value", "north-east", "north-east"),
    ],
)
def test_labels_are_canonical(unit: str, value: str | date | datetime, label: str) -> None:
    assert partition_label(parse_unit(unit), value, "a.b") == label


@pytest.mark.parametrize(
    ("unit", "value"),
    [("day", "2013-1-31"), ("day", "2013-02-30"), ("day", "today"), ("hour", date(2013, 1, 1)), ("month", "2013-13"),
     ("week", "2013-W54"), ("week", "2013-05"),
     ("day", "9999-12-31"), ("day", date.max), ("day", date.min), ("hour", datetime.max), ("month", "9501-01"),
     ("month", "1499-12"), ("week", "9999-W01"),
     ("whole", "2013"), ("value", ""), ("value", "a\nb"), ("value", "x" * 201)],
)  # fmt: skip
def test_values_that_name_no_partition_are_refused(unit: str, value: str | date) -> None:
    with pytest.raises(InvalidPartitionError):
        partition_label(parse_unit(unit), value, "a.b")


def test_unknown_units_are_refused() -> None:
    with pytest.raises(InvalidPartitionError, match="whole, hour, day, week, month, value"):
        parse_unit("fortnight")
