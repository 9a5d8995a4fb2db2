from __future__ import annotations

from datetime import timedelta

import pytest

from cordillera.errors import InvalidInputError
from cordillera.spec.durations import of_hours


def test_hours_may_be_broken() -> None:
    assert of_hours(1.5) == timedelta(minutes=90)


@pytest.mark.parametrize("hours", [float("inf"), float("-inf"), float("nan"), 1e300])
def test_what_is_no_length_of_time_is_refused(hours: float) -> None:
    with pytest.raises(InvalidInputError, match="no length of time"):
        of_hours(hours)
