"""What targets' settings say of the load put on them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidConfigurationError
from cordillera.spec.target_limits import TargetLimits, limits_of


def test_limits_are_read_from_the_settings() -> None:
    assert limits_of({"dsn": "x", "deliveries_at_once": ""}) == TargetLimits()
    assert limits_of({"rows_per_second": "500", "deliveries_at_once": "2"}) == TargetLimits(2, 500, None)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "9" * 30, "٣"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="rows per second") as caught:
        limits_of({"rows_per_second": text})
    assert "rows_per_second" in caught.value.hint


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 8))
def test_deliveries_that_share_a_limit_keep_it_together(rows: int, size: int, limit: int, at_once: int) -> None:
    seconds = TargetLimits(at_once, limit, 2 * limit).seconds_for(rows, size, at_once)
    assert at_once * rows <= seconds * limit * (1 + 1e-9)
    assert at_once * size <= seconds * 2 * limit * (1 + 1e-9)
    assert TargetLimits().seconds_for(rows, size, at_once) == 0
