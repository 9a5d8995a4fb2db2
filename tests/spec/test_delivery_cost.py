from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError
from cordillera.spec.delivery_cost import CostQuery, DeliveryCost, month_from, month_of, parse_costs_by, read_place

MONTHS = st.dates(date(1000, 1, 1), date(9000, 1, 1)).map(lambda day: f"{day:%Y-%m}")


@given(MONTHS, st.text(max_size=9), st.none() | st.uuids())
def test_places_are_read_as_they_are_told(month: str, owner: str, subscription_id: object) -> None:
    place = DeliveryCost(month, owner, 1, 1, 1, 1.0, subscription_id).place  # type: ignore[arg-type]  # a UUID or None
    assert read_place(place) == (month, owner, subscription_id)


@pytest.mark.parametrize("text", ["", "2026-11", "2026-11/x/y", f"2026-11/{'-' * 36}/y"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no place"):
        read_place(text)


@given(MONTHS, st.integers(-2000, 2000))
def test_months_follow_one_another(month: str, steps: int) -> None:
    there = month_from(month, steps)
    assert month_from(there, -steps) == month
    assert (there > month) == (steps > 0)


def test_a_moment_counts_to_its_month_in_utc() -> None:
    assert month_of(datetime(2026, 1, 31, 23, 59, tzinfo=UTC)) == "2026-01"
    assert month_of(datetime(2026, 1, 31, 23, 59, tzinfo=timezone(-timedelta(hours=1)))) == "2026-02"


@pytest.mark.parametrize("month", ["november", "2026-13", "2026-1", "2026-11-01"])
def test_what_is_no_month_is_refused(month: str) -> None:
    for asked in ({"since": month}, {"until": month}):
        with pytest.raises(InvalidInputError, match="is no month"):
            CostQuery(**asked)  # type: ignore[arg-type]  # months are texts


def test_what_costs_are_not_added_up_by_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="payer, subscription"):
        parse_costs_by("target")
