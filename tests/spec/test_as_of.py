"""Moments in a dataset's history."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from cordillera.errors import InvalidInputError
from cordillera.spec.as_of import as_of_to_text, last_moment, read_as_of

PERU = timezone(timedelta(hours=-5))


@pytest.mark.parametrize(
    "moment",
    [0, 41, -1, date(2026, 1, 31), datetime(2026, 1, 31, 7), datetime(2026, 1, 31, 7, 0, 0, 1, tzinfo=PERU), None],
)
def test_a_moment_means_the_same_as_text(moment: Any) -> None:
    assert read_as_of(moment) == moment
    if moment is not None:
        assert read_as_of(as_of_to_text(moment)) == moment
        assert type(read_as_of(as_of_to_text(moment))) is type(moment)


@pytest.mark.parametrize("given", ["-soon", "", "2026-13-01", "2026-01-31T25:00", "1.5", "9" * 19, 1.5, True, b"41"])
def test_what_is_no_moment_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="no moment") as caught:
        read_as_of(given)
    assert caught.value.hint.endswith(".")


@pytest.mark.parametrize(
    ("given", "last"),
    [
        (date(2026, 1, 31), datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        (date.max, datetime.max.replace(tzinfo=UTC)),
        (datetime(2026, 1, 31, 7), datetime(2026, 1, 31, 7, tzinfo=UTC)),
        (datetime(2026, 1, 31, 7, tzinfo=PERU), datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_a_date_means_the_end_of_its_day_in_utc(given: date, last: datetime) -> None:
    assert last_moment(given) == last
