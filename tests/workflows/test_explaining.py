"""Why a job has not started: what it waits for, since when, and for whom that is no secret."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from cordillera.client import Lake
from cordillera.context import acting
from cordillera.errors import InvalidPartitionError
from cordillera.spec.completion_rule import CompletionRule
from cordillera.spec.job_explanation import HIDDEN_INPUT, JobStatus
from cordillera.spec.job_trigger import JobTrigger
from cordillera.spec.workflow import WantedJob
from tests.conftest import MovableClock

SCHEMA = {"day": pa.date32(), "value": pa.int64()}


@pytest.fixture
def flights(timed_lake: Lake) -> Lake:
    """A job over departures of the day and the weather of two days; weather comes at ten past six the next morning."""
    lake = timed_lake
    for space in ("flights", "weather"):
        lake.create_namespace(space, owner=f"user:{space}")
    for name in ("flights.departures", "weather.wind", "flights.delays"):
        lake.create_dataset(name, SCHEMA, key=["day"], completion_unit="day")
    lake.backend.create_job(
        WantedJob(
            "flights.delays",
            "SELECT d.* FROM flights.departures AS d JOIN weather.wind AS w USING (day) WHERE d.day = $partition::DATE",
            output_condition="day = $partition::DATE",
            owner="user:ann",
            trigger=JobTrigger({"weather.wind": "trailing 2 days"}),
        )
    )
    return lake


def test_what_is_late_is_told_with_when_it_usually_comes(flights: Lake, clock: MovableClock) -> None:
    for day in range(1, 6):
        clock.moment = datetime(2026, 1, day + 1, 6, 10, tzinfo=UTC)
        flights.dataset("weather.wind").complete(f"2026-01-0{day}")
    clock.moment = datetime(2026, 1, 7, 6, 50, 30, tzinfo=UTC)
    flights.dataset("flights.departures").complete("2026-01-06")
    found = flights.backend.explain_job("flights.delays")
    assert (found.partition, found.status) == ("2026-01-06", JobStatus.WAITING)
    departures, wind = found.inputs
    assert departures.text == "flights.departures is complete as of snapshot 0"
    assert wind.text == "waiting for weather.wind 2026-01-06, usually 06:10 UTC, 40 min late"
    assert (wind.owner, wind.mapping, wind.missing[0].late_seconds) == ("user:weather", "trailing 2 days", 2430)


def test_why_an_input_is_not_complete_is_told_too(flights: Lake) -> None:
    flights.dataset("weather.wind").put_completion_rule(CompletionRule("day", upstream={"flights.departures": "same"}))
    (_, wind) = flights.backend.explain_job("flights.delays", "2026-01-06").inputs
    assert [one.partition for one in wind.missing] == ["2026-01-05", "2026-01-06"]
    assert "waiting for flights.departures 2026-01-06" in wind.missing[1].reasons


def test_who_makes_an_input_is_told_with_how_that_went(flights: Lake, clock: MovableClock) -> None:
    flights.create_namespace("raw", owner="user:raw")
    flights.create_dataset("raw.departures", SCHEMA, key=["day"], completion_unit="day")
    flights.backend.create_job(
        WantedJob(
            "flights.departures",
            "SELECT day, error('no such day')::BIGINT AS value FROM raw.departures WHERE day = $partition::DATE",
            output_condition="day = $partition::DATE",
        )
    )
    (departures, _) = flights.backend.explain_job("flights.delays", "2026-01-06").inputs
    assert departures.missing[0].made_by == ("made by flights.departures, which has not run for it",)
    rows = pa.table({"day": pa.array(["2026-01-06"]).cast(pa.date32()), "value": [1]})
    flights.dataset("raw.departures").write(rows, "upsert", completes="2026-01-06")
    clock.moment = datetime(2026, 1, 7, 6, 12, tzinfo=UTC)
    flights.run_pending()
    (departures, _) = flights.backend.explain_job("flights.delays", "2026-01-06").inputs
    assert departures.text == (
        "waiting for flights.departures 2026-01-06, made by flights.departures, which failed at 06:12 UTC"
    )
    flights.grant("user:ann", "discover", "flights.departures")
    with acting("user:ann"):
        (departures, _) = flights.backend.explain_job("flights.delays", "2026-01-06").inputs
    assert departures.missing[0].made_by == (), "it reads what she may not see"


def test_a_job_that_has_run_says_how_that_went(flights: Lake) -> None:
    days = ["2026-01-05", "2026-01-06"]
    for name in ("flights.departures", "weather.wind"):
        rows = pa.table({"day": pa.array(days).cast(pa.date32()), "value": [1, 2]})
        flights.dataset(name).write(rows, "upsert")
        for day in days:
            flights.dataset(name).complete(day)
    assert flights.backend.explain_job("flights.delays", days[1]).status is JobStatus.READY
    flights.backend.set_job_enabled("flights.delays", False)
    assert flights.backend.explain_job("flights.delays", days[1]).status is JobStatus.DISABLED
    flights.backend.set_job_enabled("flights.delays", True)
    flights.run_pending()
    found = flights.backend.explain_job("flights.delays", days[1])
    assert (found.status, found.text) == (JobStatus.STARTED, "The newest run is succeeded.")
    assert found.run is not None
    with pytest.raises(InvalidPartitionError):
        flights.backend.explain_job("flights.delays", "soon")


def test_an_input_that_somebody_may_not_see_has_no_name_and_no_number(flights: Lake) -> None:
    flights.grant("user:ann", "discover", "namespace:flights")
    flights.dataset("flights.departures").complete("2026-01-06")
    with acting("user:ann"):
        found = flights.backend.explain_job("flights.delays", "2026-01-06")
    assert found.inputs[1].text == f"waiting for {HIDDEN_INPUT}"
    assert (found.inputs[1].dataset, found.inputs[1].missing, found.inputs[1].owner) == ("", (), "")
    assert found.text == f"It is waiting for {HIDDEN_INPUT}."
