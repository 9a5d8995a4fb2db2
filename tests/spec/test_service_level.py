"""From one look to the next: a state is told once, and only gets worse for the same partition; predictions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from cordillera.spec.completion import Completion, CompletionUnit
from cordillera.spec.contract import Period, PeriodUnit, ServiceLevel
from cordillera.spec.freshness import FreshnessState, assess
from cordillera.spec.service_level import ServiceLevelWatch, in_words, looked_at, predict

DAY = CompletionUnit.DAY
DAILY = ServiceLevel(Period(1, PeriodUnit.DAY))
START = datetime(2026, 1, 1, tzinfo=UTC)
NEW = ServiceLevelWatch(UUID(int=1), FreshnessState.UNPROMISED, "", None, START, START, 0)


def completed(day: int, delay: timedelta = timedelta(hours=6), revision: int = 1) -> Completion:
    return Completion(UUID(int=1), f"2026-01-{day:02}", revision, 1, "user:x", START + timedelta(days=day) + delay)


def found_at(hours: float, *days: int) -> ServiceLevelWatch:
    now = START + timedelta(hours=hours)
    done = [completed(day) for day in sorted(days, reverse=True)]
    return looked_at(NEW, assess(DAY, DAILY, done, now), 1, now)


def test_it_is_looked_at_again_when_time_alone_changes_something() -> None:
    on_time, late, breached = (found_at(hours, 1) for hours in (30, 73, 97))
    assert [one.state for one in (on_time, late, breached)] == ["on time", "late", "breached"]
    assert on_time.look_at == on_time.due_at == START + timedelta(hours=72)
    assert late.look_at == START + timedelta(hours=96)
    assert breached.look_at is None


def test_a_gap_before_the_newest_partition_is_what_is_waited_for() -> None:
    found = assess(DAY, DAILY, [completed(5), completed(4), completed(2)], START + timedelta(days=5.5))
    assert (found.due_partition, found.state) == ("2026-01-03", FreshnessState.BREACHED)
    filled = assess(DAY, DAILY, [completed(day) for day in (5, 4, 3, 2)], START + timedelta(days=5.5))
    assert (filled.due_partition, filled.state) == ("2026-01-06", FreshnessState.ON_TIME)


def test_a_backfill_makes_nothing_fresh() -> None:
    done = [completed(9), Completion(UUID(int=1), "2026-01-08", 2, 5, "user:x", START + timedelta(days=30))]
    assert assess(DAY, DAILY, done, START + timedelta(days=30)).state is FreshnessState.BREACHED


@given(st.lists(st.floats(24, 200), min_size=1, max_size=30))
def test_a_state_is_told_once_whatever_the_clock_says(hours: list[float]) -> None:
    """The clock jumps to and fro while nothing is completed: each state is come to once at most, for the worse."""
    watch, told = NEW, []
    for hour in hours:
        now = START + timedelta(hours=hour)
        after = looked_at(watch, assess(DAY, DAILY, [completed(1)], now), 1, now)
        if after.state is not watch.state:
            told.append(after.state)
            assert after.since == now
        else:
            assert after.since == watch.since
        watch = after
    order = [FreshnessState.ON_TIME, FreshnessState.LATE, FreshnessState.BREACHED]
    assert told == sorted(set(told), key=order.index)


def test_a_completion_or_another_contract_starts_anew() -> None:
    late = found_at(73, 1)
    now = START + timedelta(hours=74)
    assert looked_at(late, assess(DAY, DAILY, [completed(2), completed(1)], now), 1, now).state == "on time"
    weekly = ServiceLevel(Period(1, PeriodUnit.WEEK))
    assert looked_at(late, assess(DAY, weekly, [completed(1)], now), 2, now).state == "on time"


def test_the_next_partition_is_likely_when_others_were() -> None:
    delays = [timedelta(hours=6), timedelta(hours=6, minutes=20), timedelta(hours=5, minutes=50), timedelta(hours=30)]
    done = [completed(day, delay) for day, delay in zip((5, 4, 3, 2), delays, strict=True)]
    found = predict(DAY, done, "2026-01-06")
    assert found is not None
    assert (found.at, found.partitions) == (START + timedelta(days=6, hours=6, minutes=10), 4)
    assert found.spread == timedelta(minutes=15), "one that came a day late counts as one"
    restated = [completed(day, timedelta(days=9), 2) for day in (8, 7)]
    assert predict(DAY, [*restated, *done], "2026-01-06") == found
    assert predict(DAY, done[:2], "2026-01-06") is None
    assert predict(CompletionUnit.WHOLE, done, "all") is None


def test_it_is_said_in_words() -> None:
    done = [completed(day) for day in (5, 4, 3)]
    now = START + timedelta(days=6, minutes=40)
    freshness = assess(DAY, DAILY, done, now)
    assert in_words(freshness, predict(DAY, done, freshness.due_partition), now) == (
        "Waiting for 2026-01-06, due 2026-01-08 00:00 UTC, usually ready 2026-01-07 06:00 UTC (± 0 min)."
    )
    later = now + timedelta(days=1)
    assert in_words(assess(DAY, DAILY, done, later), None, later).endswith("due 2026-01-08 00:00 UTC, 40 min late.")
    assert in_words(assess(DAY, ServiceLevel(), done, now), None, now).startswith("Nothing is promised")
