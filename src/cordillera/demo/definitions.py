"""What the demo's lake consists of: namespaces, datasets, contract, job, targets and subscriptions.

Everything is created if it is not there yet, so that an interrupted demo goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from typing import Any

import pyarrow as pa

from cordillera.client import Lake
from cordillera.demo.feed import Feed
from cordillera.errors import AlreadyExistsError, ContractNotFoundError

NAMESPACES = {
    "reference": ("reference-data", "Airlines, airports and planes: what codes stand for."),
    "weather": ("met-office", "Hourly weather at New York's airports."),
    "flights": ("flights-ops", "Every scheduled departure from New York, and what became of it."),
    "analytics": ("insights", "What is made of the others."),
}
REFERENCE_KEYS = {"airlines": "carrier", "airports": "faa", "planes": "tailnum"}
REFERENCE_TEXTS = {
    "airlines": "Carrier codes and names.",
    "airports": "Airports by FAA code, with place and time zone.",
    "planes": "Planes by tail number, with type, maker and seats.",
}
FLIGHTS, CANCELLED = "flights.flights", "flights.cancelled"
WEATHER, DELAYS = "weather.weather", "analytics.daily_delays"
FLIGHT_KEY = ("time_hour", "carrier", "flight")

DAILY_DELAYS_SQL = """
SELECT
    make_date(f.year, f.month, f.day)            AS day,
    f.origin                                     AS origin,
    count(*)                                     AS flights,
    count(*) FILTER (WHERE f.dep_delay > 15)     AS delayed,
    round(avg(f.dep_delay), 2)                   AS mean_dep_delay,
    round(avg(f.arr_delay), 2)                   AS mean_arr_delay,
    round(avg(w.wind_speed), 2)                  AS mean_wind_speed,
    round(min(w.visib), 2)                       AS least_visibility,
    round(sum(w.precip), 3)                      AS precipitation
FROM flights.flights AS f
LEFT JOIN weather.weather AS w
    ON w.origin = f.origin AND w.time_hour = f.time_hour
    AND w.year = year($partition::DATE) AND w.month = month($partition::DATE) AND w.day = day($partition::DATE)
WHERE f.year = year($partition::DATE) AND f.month = month($partition::DATE) AND f.day = day($partition::DATE)
  AND f.revision > 1
GROUP BY f.year, f.month, f.day, f.origin
"""
_DELAYS_SCHEMA = pa.schema(
    [
        pa.field("day", pa.date32(), nullable=False, metadata={"doc": "Local day of departure."}),
        pa.field("origin", pa.string(), nullable=False, metadata={"doc": "Airport of departure."}),
        pa.field("flights", pa.int64(), metadata={"doc": "Flights that departed."}),
        pa.field("delayed", pa.int64(), metadata={"doc": "Of those, departures more than 15 minutes late."}),
        pa.field("mean_dep_delay", pa.float64(), metadata={"doc": "Mean departure delay, minutes."}),
        pa.field("mean_arr_delay", pa.float64(), metadata={"doc": "Mean arrival delay, minutes."}),
        pa.field("mean_wind_speed", pa.float64(), metadata={"doc": "Mean wind speed at the hours of departure, mph."}),
        pa.field("least_visibility", pa.float64(), metadata={"doc": "Least visibility, miles."}),
        pa.field("precipitation", pa.float64(), metadata={"doc": "Precipitation summed over departures, inches."}),
    ]
)


def contract_text() -> str:
    """Return the ODCS contract of ``flights.flights``."""
    return (resources.files("cordillera.demo") / "contracts" / "flights.odcs.yaml").read_text("utf-8")


def define_datasets(lake: Lake, feed: Feed) -> None:
    """Create the namespaces and datasets that are not there yet."""
    for name, (owner, description) in NAMESPACES.items():
        _once(lake.create_namespace, name, owner=owner, description=description)
    for name, key in REFERENCE_KEYS.items():
        _once(
            lake.create_dataset,
            f"reference.{name}",
            feed.reference[name].schema,
            key=(key,),
            description=REFERENCE_TEXTS[name],
            tags=["reference"],
        )
    _once(
        lake.create_dataset,
        WEATHER,
        feed.weather.schema,
        key=("origin", "time_hour"),
        partitioning=("month(time_hour)",),
        completion_unit="day",
        description="Hourly weather at EWR, JFK and LGA.",
        tags=["weather", "hourly"],
    )
    _once(
        lake.create_dataset,
        FLIGHTS,
        contract=contract_text(),
        sequence="revision",
        partitioning=("month(time_hour)",),
        completion_unit="day",
        tags=["departures", "new-york"],
    )
    _once(
        lake.create_dataset,
        CANCELLED,
        lake.dataset(FLIGHTS).schema,
        key=FLIGHT_KEY,
        sequence="revision",
        partitioning=("month(time_hour)",),
        description="Flights that were scheduled and never departed.",
        tags=["departures", "new-york"],
    )
    _once(
        lake.create_dataset,
        DELAYS,
        _DELAYS_SCHEMA,
        key=("day", "origin"),
        partitioning=("month(day)",),
        completion_unit="day",
        description="Delays and weather by day and airport.",
        tags=["report"],
    )
    try:
        lake.dataset(FLIGHTS).contract()
    except ContractNotFoundError:  # interrupted between the dataset and its contract
        lake.dataset(FLIGHTS).put_contract(contract_text())


def define_job(lake: Lake) -> None:
    """Create the job that makes ``analytics.daily_delays``."""
    _once(
        lake.create_job,
        DELAYS,
        DAILY_DELAYS_SQL,
        output_condition="day = $partition::DATE",
        description="Runs once a day, when flights and weather of that day are complete.",
    )


def define_subscriptions(lake: Lake, postgres_dsn: str, duckdb_path: str) -> None:
    """Create the two targets and what they follow."""
    _once(lake.create_target, "operations_db", "postgres", dsn=postgres_dsn)
    _once(lake.create_target, "analysts_duckdb", "duckdb", path=duckdb_path)
    _once(
        lake.dataset(FLIGHTS).subscribe,
        "operations_db",
        consumer="gate-planning",
        purpose="Live departures for the gate planning tool.",
    )
    for name in (DELAYS, *(f"reference.{name}" for name in REFERENCE_KEYS)):
        _once(
            lake.dataset(name).subscribe,
            "analysts_duckdb",
            consumer="analysts",
            purpose="Notebooks without a server.",
        )


def _once(create: Callable[..., object], *args: Any, **options: Any) -> None:
    with suppress(AlreadyExistsError):
        create(*args, **options)
