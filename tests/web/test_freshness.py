"""Freshness and health: what is promised, what was kept, and the one word for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID, uuid4

import pytest

from cordillera.client.contract_backend import ContractDetails
from cordillera.spec.completion import Completion, CompletionUnit
from cordillera.spec.contract import Availability, Period, PeriodUnit, ServiceLevel
from cordillera.spec.freshness import FreshnessState, assess, completion_state, promise_in_words, strip
from cordillera.spec.subscription import SubscriptionChange, SubscriptionState, SubscriptionStatus
from cordillera.testing import metadata_samples as samples
from cordillera.web.health import contract_part, freshness_part, health_of, sync_part
from cordillera.web.levels import Level
from cordillera.web.subscription_views import timeline

DAY, HOUR, MONTH, WHOLE = CompletionUnit.DAY, CompletionUnit.HOUR, CompletionUnit.MONTH, CompletionUnit.WHOLE
DAILY = Period(1, PeriodUnit.DAY)
BY_SIX = ServiceLevel(DAILY, Availability(time(6), "America/New_York", 1))
NOTHING = ServiceLevel()
DATASET = samples.dataset()
VERSION = samples.dataset_version(DATASET.id, sequence_number=10)


def completed(partition: str, declared: str, revision: int = 1) -> Completion:
    return Completion(UUID(int=1), partition, revision, 1, "user:x", moment(declared))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ("2026-03-16T09:59", FreshnessState.ON_TIME),  # 05:59 in New York, in summer time
        ("2026-03-16T10:00", FreshnessState.LATE),
        ("2026-03-17T09:59", FreshnessState.LATE),
        ("2026-03-17T10:00", FreshnessState.BREACHED),
    ],
)
def test_the_next_partition_is_due_at_the_promised_local_time(now: str, state: FreshnessState) -> None:
    found = assess(DAY, BY_SIX, [completed("2026-03-14", "2026-03-15T05:00")], moment(now))
    assert (found.due_partition, found.due_at) == ("2026-03-15", moment("2026-03-16T10:00"))
    assert found.state is state


def test_completing_an_old_partition_again_makes_nothing_fresh() -> None:
    now = moment("2026-03-20T12:00")
    completions = [completed("2026-03-14", "2026-03-15T05:00"), completed("2026-03-01", "2026-03-20T11:00", 2)]
    assert assess(DAY, BY_SIX, completions, now).state is FreshnessState.BREACHED


@pytest.mark.parametrize(
    ("unit", "newest", "promised", "partition", "due"),
    [
        (HOUR, "2026-03-14T23", ServiceLevel(Period(1, PeriodUnit.HOUR)), "2026-03-15T00", "2026-03-15T02:00"),
        (MONTH, "2026-12", ServiceLevel(Period(1, PeriodUnit.DAY)), "2027-01", "2027-02-02T00:00"),
        (MONTH, "2026-01", ServiceLevel(None, Availability(time(8), "+02:00", 3)), "2026-02", "2026-03-03T06:00"),
        (DAY, "2026-03-01", ServiceLevel(Period(1, PeriodUnit.WEEK)), "2026-03-08", "2026-03-16T00:00"),
    ],
)
def test_what_comes_next(unit: CompletionUnit, newest: str, promised: ServiceLevel, partition: str, due: str) -> None:
    found = assess(unit, promised, [completed(newest, "2026-03-01T00:00")], moment("2026-01-01T00:00"))
    assert (found.due_partition, found.due_at) == (partition, moment(due))


def test_a_whole_dataset_is_due_one_period_after_its_last_completion() -> None:
    found = assess(WHOLE, ServiceLevel(DAILY), [completed("all", "2026-03-14T08:00")], moment("2026-03-15T09:00"))
    assert (found.state, found.due_at) == (FreshnessState.LATE, moment("2026-03-15T08:00"))


def test_without_promise_or_completion_nothing_is_late() -> None:
    now = moment("2026-03-14T00:00")
    assert assess(DAY, NOTHING, [completed("2020-01-01", "2020-01-02T00:00")], now).state is FreshnessState.UNPROMISED
    assert assess(DAY, BY_SIX, [], now).state is FreshnessState.UNPROMISED
    values = [completed("peru", "2026-03-01T00:00"), completed("chile", "2026-03-02T00:00")]
    found = assess(CompletionUnit.VALUE, BY_SIX, values, now)
    assert (found.state, found.newest) == (FreshnessState.UNPROMISED, values[1])


def test_a_promise_in_words() -> None:
    assert promise_in_words(BY_SIX) == "every day, complete by 06:00 America/New_York the next day"
    assert promise_in_words(ServiceLevel(Period(2, PeriodUnit.HOUR))) == "every 2 hours"
    assert promise_in_words(NOTHING) == ""


def test_how_a_completion_came() -> None:
    def state(declared: str, revision: int = 1, promised: ServiceLevel = BY_SIX) -> str:
        return completion_state(DAY, promised, completed("2026-03-14", declared, revision))

    assert state("2026-03-15T10:00") == "complete"
    assert state("2026-03-15T10:01") == "late"
    assert state("2026-04-15T10:00") == "backfilled"
    assert state("2026-03-15T09:00", revision=2) == "restated"
    assert state("2030-01-01T00:00", promised=NOTHING) == "complete"


def test_the_strip_shows_what_is_missing_and_what_is_to_come() -> None:
    completions = [completed("2026-03-13", "2026-03-14T01:00"), completed("2026-03-11", "2026-03-12T01:00")]
    cells = strip(DAY, BY_SIX, completions, moment("2026-03-15T12:00"))
    assert len(cells) == 30
    assert {cell.partition: cell.state for cell in cells[-6:]} == {
        "2026-03-10": "before",
        "2026-03-11": "complete",
        "2026-03-12": "missing",
        "2026-03-13": "complete",
        "2026-03-14": "missing",
        "2026-03-15": "due",
    }
    assert {cell.state for cell in cells[:-5]} == {"before"}


def test_the_strip_of_a_dataset_that_ended_long_ago_ends_with_it() -> None:
    cells = strip(MONTH, NOTHING, [completed("2013-12", "2014-01-02T00:00")], moment("2026-03-15T12:00"))
    assert (cells[0].partition, cells[-1].partition, cells[-1].state) == ("2011-07", "2013-12", "complete")
    assert strip(WHOLE, NOTHING, [completed("all", "2014-01-02T00:00")], moment("2026-03-15T12:00")) == ()
    assert strip(DAY, NOTHING, [], moment("2026-03-15T12:00")) == ()


# --- promises that end ----------------------------------------------------------------------------------------------

UNTIL_MARCH = replace(BY_SIX, end=date(2026, 3, 14))
HOURLY = replace(BY_SIX, frequency=Period(1, PeriodUnit.HOUR))


@pytest.mark.parametrize(
    ("newest", "state"),
    [
        ("2026-03-12", FreshnessState.BREACHED),  # the last two partitions were promised, and never came
        ("2026-03-13", FreshnessState.BREACHED),
        ("2026-03-14", FreshnessState.ENDED),
        ("2026-03-15", FreshnessState.ENDED),
    ],
)
def test_a_promise_that_was_kept_to_its_end_is_not_broken(newest: str, state: FreshnessState) -> None:
    found = assess(DAY, UNTIL_MARCH, [completed(newest, "2026-03-15T05:00")], moment("2030-01-01T00:00"))
    assert found.state is state
    assert found.promise.endswith(", until 2026-03-14")
    assert (found.due_at is None) == (state is FreshnessState.ENDED)


def test_the_last_promised_partition_is_due_like_any_other() -> None:
    completions = [completed("2026-03-13", "2026-03-14T05:00")]
    found = assess(DAY, UNTIL_MARCH, completions, moment("2026-03-15T09:00"))
    assert (found.state, found.due_partition) == (FreshnessState.ON_TIME, "2026-03-14")


@pytest.mark.parametrize(
    ("unit", "newest", "promised", "ended"),
    [
        (HOUR, "2026-03-14T22", ServiceLevel(Period(1, PeriodUnit.HOUR), end=date(2026, 3, 14)), False),
        (HOUR, "2026-03-14T23", ServiceLevel(Period(1, PeriodUnit.HOUR), end=date(2026, 3, 14)), True),
        (HOUR, "2026-03-14T16", replace(HOURLY, end=datetime(2026, 3, 14, 22, tzinfo=UTC)), False),  # 18:00 there
        (HOUR, "2026-03-14T17", replace(HOURLY, end=datetime(2026, 3, 14, 22, tzinfo=UTC)), True),
        (HOUR, "2026-03-14T17", replace(HOURLY, end=datetime(2026, 3, 14, 18)), True),
        (MONTH, "2026-02", ServiceLevel(DAILY, end=date(2026, 3, 14)), False),
        (MONTH, "2026-03", ServiceLevel(DAILY, end=date(2026, 3, 14)), True),
        (WHOLE, "all", ServiceLevel(DAILY, end=date(2026, 3, 13)), True),
        (WHOLE, "all", ServiceLevel(DAILY, end=date(2026, 3, 14)), False),
    ],
)
def test_no_partition_that_begins_behind_the_end_is_promised(
    unit: CompletionUnit, newest: str, promised: ServiceLevel, ended: bool
) -> None:
    found = assess(unit, promised, [completed(newest, "2026-03-13T08:00")], moment("2026-05-01T00:00"))
    assert (found.state is FreshnessState.ENDED) == ended


def test_a_promise_that_ended_makes_nothing_unhealthy() -> None:
    ended = assess(DAY, UNTIL_MARCH, [completed("2026-03-14", "2026-03-15T05:00")], moment("2030-01-01T00:00"))
    part = freshness_part(ended, moment("2030-01-01T00:00"))
    assert (part.level, part.word) == (Level.NONE, "Promise ended")
    assert "due" not in part.message
    contract = contract_part(ContractDetails("a.b", 1, "1.0", "active", "x", "", "y", "", rules=("one",)))
    assert health_of([part, contract]).word == "Healthy"


def test_the_strip_ends_with_the_last_promised_partition() -> None:
    completions = [completed("2026-03-12", "2026-03-13T01:00")]
    cells = strip(DAY, UNTIL_MARCH, completions, moment("2026-03-25T12:00"))
    assert [(cell.partition, cell.state) for cell in cells[-3:]] == [
        ("2026-03-12", "complete"),
        ("2026-03-13", "missing"),
        ("2026-03-14", "missing"),
    ]
    assert strip(DAY, UNTIL_MARCH, completions, moment("2026-03-13T12:00"))[-1].partition == "2026-03-13"


# --- health ---------------------------------------------------------------------------------------------------------

NOW = moment("2026-03-14T12:00")


def followed(state: SubscriptionState, cursor: int | None = 10, behind: timedelta | None = None) -> SubscriptionStatus:
    one = samples.subscription(DATASET, VERSION, state=state, cursor_sequence=cursor)
    return SubscriptionStatus(one, 10, NOW - behind if behind else None)


LIVE = followed(SubscriptionState.LIVE)
CATCHING_UP = followed(SubscriptionState.LIVE, 9, timedelta(minutes=2))
SLOW = followed(SubscriptionState.LIVE, 9, timedelta(minutes=20))
FAILED, PAUSED = followed(SubscriptionState.FAILED, 4), followed(SubscriptionState.PAUSED, 4)
REVOKED = followed(SubscriptionState.REVOKED, 4)


@pytest.mark.parametrize(
    ("statuses", "level", "message"),
    [
        ([], Level.NONE, "You see no target that follows this dataset"),
        ([REVOKED], Level.NONE, "You see no target that follows this dataset"),
        ([LIVE, LIVE], Level.OK, "2 targets in step"),
        ([LIVE, CATCHING_UP], Level.INFO, "1 target behind by 2 min"),
        ([LIVE, SLOW, CATCHING_UP], Level.WARN, "2 targets behind by 20 min"),
        ([LIVE, PAUSED], Level.WARN, "1 subscription paused"),
        ([LIVE, SLOW, FAILED], Level.BAD, "1 delivery failed"),
    ],
)
def test_the_worst_delivery_counts(statuses: list[SubscriptionStatus], level: Level, message: str) -> None:
    part = sync_part(statuses, NOW)
    assert (part.level, part.message) == (level, message)


def test_health_is_the_worst_of_its_parts() -> None:
    late = freshness_part(
        assess(DAY, BY_SIX, [completed("2026-03-12", "2026-03-13T01:00")], moment("2026-03-14T12:00")), NOW
    )
    assert (late.level, late.word) == (Level.WARN, "Late")
    assert late.message.startswith("2026-03-12 complete, ")
    contract = contract_part(ContractDetails("a.b", 1, "1.0", "active", "x", "", "y", "", rules=("one",)))
    assert (contract.level, contract.message) == (Level.OK, "1 rule checked on every write")
    assert health_of([contract, late]).word == "Needs attention"
    assert health_of([contract, sync_part([FAILED], NOW), late]).word == "Unhealthy"
    assert health_of([contract_part(None)]).word == "Not measured"
    assert health_of([contract, contract_part(None)]).word == "Healthy"


def steps(*states: SubscriptionState) -> list[SubscriptionChange]:
    made = [SubscriptionChange(n, uuid4(), state, "user:a", NOW, "why") for n, state in enumerate(states)]
    return made[::-1]


S = SubscriptionState
BEGUN = (S.REQUESTED, S.APPROVED, S.PROVISIONING, S.FIRST_SYNC, S.LIVE)


@pytest.mark.parametrize(
    ("status", "history", "names", "levels"),
    [
        (followed(S.REQUESTED, None), BEGUN[:1], ["Requested", "Approved"], ["info", "none"]),
        (followed(S.REFUSED, None), (S.REQUESTED, S.REFUSED), ["Requested", "Refused"], ["ok", "bad"]),
        (followed(S.APPROVED, None), BEGUN[:2], ["Requested", "Approved", "Provisioning"], ["ok", "info", "none"]),
        (followed(S.FIRST_SYNC, None), BEGUN[3:4], ["First sync", "Live"], ["info", "none"]),
        (LIVE, BEGUN[3:], ["First sync", "Live"], ["ok", "ok"]),
        (SLOW, BEGUN[3:], ["First sync", "Live"], ["ok", "info"]),
        (FAILED, (S.LIVE, S.FAILED), ["Live", "Failed"], ["ok", "bad"]),
        (PAUSED, (S.LIVE, S.PAUSED), ["Live", "Paused"], ["ok", "warn"]),
        (REVOKED, (S.LIVE, S.REVOKED), ["Live", "Revoked"], ["ok", "none"]),
        (LIVE, (), [], []),
    ],
)
def test_the_steps_of_a_subscription(
    status: SubscriptionStatus, history: tuple[SubscriptionState, ...], names: list[str], levels: list[str]
) -> None:
    found = timeline(status, steps(*history), NOW)
    assert [step.name for step in found] == names
    assert [step.level for step in found] == levels
    assert all(step.note.startswith("by user:a: why") for step in found if step.at)


def test_weeks_are_promised_like_days() -> None:
    week = CompletionUnit.WEEK
    completions = [completed("2026-W10", "2026-03-09T05:00"), completed("2026-W09", "2026-03-02T05:00")]
    found = assess(week, BY_SIX, completions, moment("2026-03-12T12:00"))
    assert (found.state, found.due_partition) == (FreshnessState.ON_TIME, "2026-W11")
    cells = strip(week, BY_SIX, completions, moment("2026-03-12T12:00"))
    assert [(cell.partition, cell.state) for cell in cells[-3:]] == [
        ("2026-W09", "complete"), ("2026-W10", "complete"), ("2026-W11", "due"),
    ]  # fmt: skip
