"""Calendars of partitions, against counting the partitions one by one."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidPartitionError
from cordillera.spec.completion import LABEL_FORMATS, CompletionUnit, begin_of, following, label_at
from cordillera.spec.partition_calendar import calendar_page, period_of

UNITS = st.sampled_from(sorted(LABEL_FORMATS))
MOMENTS = st.datetimes(datetime(1001, 1, 1), datetime(9997, 1, 1))


@given(UNITS, MOMENTS)
def test_every_partition_is_on_the_page_of_its_period_and_no_other(unit: CompletionUnit, moment: datetime) -> None:
    label = label_at(unit, moment)
    page = calendar_page(unit, period_of(unit, label))
    assert label in page.labels
    assert list(page.labels) == sorted(set(page.labels))
    steps = [label_at(unit, following(unit, begin_of(unit, one))) for one in page.labels]
    assert [*page.labels[1:], calendar_page(unit, page.following).labels[0]] == steps
    assert calendar_page(unit, page.previous).following == page.period
    assert {period_of(unit, one) for one in page.labels} == {page.period}
    assert all(len(row.labels) <= len(page.columns) for row in page.rows)


@given(st.dates(date(1001, 1, 1), date(9997, 1, 1)))
def test_days_stand_under_their_weekday(day: date) -> None:
    page = calendar_page(CompletionUnit.DAY, f"{day:%Y-%m}")
    (place,) = [row.labels.index(day.isoformat()) for row in page.rows if day.isoformat() in row.labels]
    assert (place, page.columns[place]) == (day.weekday(), (date(2024, 1, 1) + timedelta(day.weekday())).strftime("%a"))


@pytest.mark.parametrize("period", ["", "2013", "2013-2", "2013-13", "0999-12", "9999-01", "<b>", "2013-02-01"])
def test_what_is_no_month_is_no_page(period: str) -> None:
    with pytest.raises(InvalidPartitionError, match="no page"):
        calendar_page(CompletionUnit.DAY, period)
