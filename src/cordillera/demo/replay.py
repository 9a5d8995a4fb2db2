"""Replaying the year: what the feed delivers, in the order in which it does, with its accidents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cordillera.client import Lake
from cordillera.demo.definitions import CANCELLED, DELAYS, FLIGHTS, REFERENCE_KEYS, WEATHER
from cordillera.demo.feed import ACTUALS, CORRECTION, FIRST_DAY, Feed
from cordillera.errors import ContractViolationError, CordilleraError
from cordillera.spec.schema_evolution import AddColumn

BLIZZARD = {date(2013, 2, 8), date(2013, 2, 9), date(2013, 2, 10)}
"""Days whose actuals come three days late, after those of the days that follow."""
SCHEDULE_BEHIND_ACTUALS = date(2013, 3, 10)
"""A day whose schedule comes after what became of it: late rows, which must change nothing."""
PLANTED_ERROR = date(2013, 4, 1)
"""A day whose first batch breaks the contract."""
SENT_TWICE = date(2013, 5, 5)
"""A day whose actuals arrive twice."""
NEW_COLUMN_FROM = date(2013, 7, 1)
"""The day on which the feed begins to say where its times come from."""
RESTATED = date(2013, 7, 4)
"""A day whose arrival delays were wrong at first, and are put right a week later."""
NEW_COLUMN = "source"


@dataclass
class Outcome:
    """What the replay met that is worth telling."""

    refusal: str = ""
    days: int = 0


class WeatherReplay:
    """The weather service: a publisher that knows nothing of flights, and does not wait for them.

    Args:
        lake: Where to write.
        feed: What to write.
    """

    def __init__(self, lake: Lake, feed: Feed) -> None:
        self._feed, self._weather = feed, lake.dataset(WEATHER)

    def run(self, until: date) -> None:
        """Write and complete day after day; days that are complete already are passed over."""
        complete = {completion.partition for completion in self._weather.completions(limit=1000)}
        for day in self._feed.days():
            if day > until:
                return
            rows = self._feed.weather_of(day)
            if rows.num_rows and day.isoformat() not in complete:
                self._weather.write(rows, "append", idempotency_key=f"weather {day}", completes=day)


class Replay:
    """Feeds the lake with flights and reference data.

    Every write carries an idempotency key made of its day and kind, so an interrupted replay can simply begin again.

    Args:
        lake: Where to write.
        feed: What to write.
    """

    def __init__(self, lake: Lake, feed: Feed) -> None:
        self._lake, self._feed = lake, feed
        self._flights, self._cancelled = lake.dataset(FLIGHTS), lake.dataset(CANCELLED)
        self.outcome = Outcome()

    def run(self, until: date | None = None) -> Iterator[date]:
        """Write day after day, yielding each when it is done; days that are complete already are passed over."""
        complete = self._complete_days()
        self._reference(everything=False)
        if FIRST_DAY.isoformat() not in complete:
            self._schedule(FIRST_DAY)
        for today in self._feed.days():
            if until is not None and today > until:
                return
            if today.isoformat() not in complete:
                self._one_day(today)
            yield today

    # --- the course of a day -------------------------------------------------------------------------------------

    def _one_day(self, today: date) -> None:
        """What arrives on the day after ``today``, and the evening's schedule for the next one."""
        if today == NEW_COLUMN_FROM:
            self._reference(everything=True)
            self._add_column()
        tomorrow = today + timedelta(days=1)
        if tomorrow.year == today.year and tomorrow != SCHEDULE_BEHIND_ACTUALS:
            self._schedule(tomorrow)
        if today not in BLIZZARD:
            self._actuals_arrive(today)
        if today == max(BLIZZARD) + timedelta(days=3):
            for late in sorted(BLIZZARD, reverse=True):
                self._actuals_arrive(late)
        if today == SCHEDULE_BEHIND_ACTUALS:
            self._schedule(today)
        if today == RESTATED + timedelta(days=7):
            self._restate()
        self.outcome.days += 1

    def _schedule(self, day: date) -> None:
        rows = self._in_todays_columns(self._feed.schedule(day), day)
        self._flights.write(rows, "upsert", idempotency_key=f"schedule {day}")

    def _actuals_arrive(self, day: date) -> None:
        if day == PLANTED_ERROR:
            self._planted_error(day)
        actuals = self._in_todays_columns(self._feed.actuals(day), day)
        if day == RESTATED:
            wrong = pa.nulls(actuals.num_rows, pa.int32())
            actuals = actuals.set_column(actuals.schema.get_field_index("arr_delay"), "arr_delay", wrong)
        for _ in range(2 if day == SENT_TWICE else 1):
            self._flights.write(actuals, "upsert", idempotency_key=f"actuals {day}")
        cancelled = self._feed.cancelled(day)
        if cancelled.num_rows:
            self._cancelled.write(cancelled, "upsert", idempotency_key=f"cancelled {day}")
            self._flights.write(cancelled, "delete", idempotency_key=f"cancelled {day}", completes=day)
        else:
            self._flights.complete(day, idempotency_key=f"complete {day}")

    # --- accidents -----------------------------------------------------------------------------------------------

    def _planted_error(self, day: date) -> None:
        """Send rows that break the contract. They have to be refused, and the dataset has to stay as it is."""
        good = self._in_todays_columns(self._feed.actuals(day), day)
        every_hundredth = pa.array(np.arange(good.num_rows) % 100 == 7)
        nowhere = pc.if_else(every_hundredth, "XXX", good.column("origin"))
        bad = good.set_column(good.schema.get_field_index("origin"), "origin", nowhere)
        in_no_time = pc.if_else(
            pc.greater(bad.column("distance"), 2500), pa.scalar(-5, pa.int32()), bad.column("air_time")
        )
        bad = bad.set_column(bad.schema.get_field_index("air_time"), "air_time", in_no_time)
        before = self._flights.details().version.sequence_number
        try:
            self._flights.write(bad, "upsert", idempotency_key=f"bad actuals {day}")
        except ContractViolationError as error:
            self.outcome.refusal = error.message
        if self._flights.details().version.sequence_number != before or not self.outcome.refusal:
            raise CordilleraError(f"The planted error of {day} was not refused as it should have been.")

    def _restate(self) -> None:
        """Put right the arrival delays that came wrong, and declare the day complete once more.

        It was the report that gave the error away, so it has been made by then.
        """
        self._lake.dataset(DELAYS).wait_until_complete(RESTATED, timeout=600)
        actuals = self._in_todays_columns(self._feed.actuals(RESTATED), RESTATED)
        corrected = actuals.select(["time_hour", "carrier", "flight", "arr_delay"]).append_column(
            "revision", pa.repeat(pa.scalar(CORRECTION, pa.int64()), actuals.num_rows)
        )
        self._flights.write(corrected, "partial_update", idempotency_key=f"correction {RESTATED}", completes=RESTATED)

    def _add_column(self) -> None:
        if NEW_COLUMN not in self._flights.schema.names:
            self._flights.evolve(AddColumn(NEW_COLUMN, pa.string(), doc="Where the times come from, since July 2013."))

    def _reference(self, *, everything: bool) -> None:
        """Replace the reference data as a whole: before the year without, from July on with the planes built in it."""
        for name in REFERENCE_KEYS:
            rows = self._feed.reference[name]
            if name == "planes" and not everything:
                rows = rows.filter(pc.fill_null(pc.less(rows.column("year"), 2013), True))
            key = f"reference {'july' if everything else 'january'}"
            self._lake.dataset(f"reference.{name}").write(rows, "replace", idempotency_key=key)

    # --- helpers -------------------------------------------------------------------------------------------------

    def _in_todays_columns(self, rows: pa.Table, day: date) -> pa.Table:
        """Add the column that the dataset has gained, for the days since."""
        if NEW_COLUMN not in self._flights.schema.names:
            return rows
        known = day >= NEW_COLUMN_FROM and rows.num_rows and rows.column("revision")[0].as_py() >= ACTUALS
        values = pa.repeat(pa.scalar("acars" if known else None, pa.string()), rows.num_rows)
        return rows.append_column(NEW_COLUMN, values)

    def _complete_days(self) -> set[str]:
        return {completion.partition for completion in self._flights.completions(limit=1000)}
