"""A small real lake with everything that the pages show."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa

import cordillera
from cordillera.catalog.new_table import TableOptions
from cordillera.client.lake import Lake
from cordillera.context import acting

SCRIPT = "<script>alert('x')</script>"
WEATHER = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False, metadata={"doc": "Airport of the station"}),
        pa.field("hour", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("temperature", pa.float64(), metadata={"doc": "Degrees Celsius"}),
        pa.field("remark", pa.string()),
    ]
)
FLIGHTS = pa.schema(
    [
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("flight", pa.int32(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("dep_delay", pa.float64()),
        pa.field("note <b>", pa.string()),
        pa.field("legs", pa.list_(pa.string())),
        pa.field("raw", pa.binary()),
    ]
)
DELAYS = pa.schema(
    [pa.field("day", pa.date32(), nullable=False), pa.field("carrier", pa.string()), pa.field("delay", pa.float64())]
)
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: flights-of-the-sample-lake
name: flights
version: 1.2.0
status: active
domain: aviation
team:
  name: team-departures
support:
  - channel: "#departures"
    url: https://chat.invalid/departures
slaProperties:
  - property: frequency
    value: 1
    unit: d
  - property: timeOfAvailability
    value: 06:00 America/New_York
    valueExt: 1
    unit: d
schema:
  - name: flights
    properties:
      - name: carrier
        logicalType: string
        required: true
        primaryKey: true
        primaryKeyPosition: 1
        logicalTypeOptions: {minLength: 2, maxLength: 2}
        description: Two letters of the airline
      - name: flight
        logicalType: integer
        required: true
        primaryKey: true
        primaryKeyPosition: 2
      - name: day
        logicalType: date
        required: true
        primaryKey: true
        primaryKeyPosition: 3
      - name: dep_delay
        logicalType: number
        classification: internal
"""


def build_sample_lake(folder: Path) -> Lake:
    """Create the lake, write, subscribe and run what is due."""
    lake = cordillera.create(folder / "lake", name="sample")
    lake.create_namespace("weather", owner="team-sky", description="What the stations measured.")
    noted = {"cost <b>": SCRIPT}
    lake.create_namespace("flights", owner="team-departures", description=f"Departures. {SCRIPT}", properties=noted)
    lake.create_namespace("scratch")
    weather = lake.create_dataset(
        "weather.weather", WEATHER, key=["origin", "hour"], completion_unit="day", owner="team-sky",
        description="Hourly measurements of the stations at the airports.", tags=["weather", "hourly"],
    )  # fmt: skip
    flights = lake.create_dataset(
        "flights.flights", FLIGHTS, key=["carrier", "flight", "day"], partitioning=["month(day)"],
        completion_unit="day", owner="team-departures", tags=["departures"],
        description=f"All departures, one row for each flight. {SCRIPT}",
    )  # fmt: skip
    lake.create_dataset(
        "flights.delays", DELAYS, completion_unit="day", owner="team-departures", description="Mean delay by carrier."
    )
    flights.put_contract(CONTRACT)
    lake.create_job(
        "flights.delays",
        "SELECT f.day, f.carrier, avg(f.dep_delay) AS delay FROM flights.flights f JOIN weather.weather w "
        "ON w.origin = 'JFK' WHERE f.day = CAST($partition AS DATE) GROUP BY f.day, f.carrier",
        output_condition="day = CAST($partition AS DATE)",
        description="Runs when a day of flights and weather is complete.",
    )
    lake.create_target("warehouse", "duckdb", path=str(folder / "warehouse.duckdb"))
    flights.subscribe("warehouse", consumer="team-reports", purpose="weekly report")
    weather.subscribe("warehouse", consumer="team-reports", columns=["temperature"])
    today = datetime.now(UTC).date()
    for back in (4, 3, 2, 1):
        write_day(lake, today - timedelta(days=back), with_weather=back != 1)
        lake.run_pending()
    flights.complete(today - timedelta(days=3))
    lake.run_pending()
    weather_subscription = weather.subscriptions()[0].subscription.id
    lake.backend.pause_subscription(weather_subscription)
    lake.backend.create_dataset_version(
        "weather.weather", WEATHER, TableOptions(key=("origin", "hour"), completion_unit="day")
    )
    ask_for_access(lake)
    return lake


def ask_for_access(lake: Lake) -> None:
    """Let people ask for access, and decide about some of it."""
    lake.add_approver("sensitivity = pii", "group:privacy")
    lake.set_policy_tag("namespace:flights", "sensitivity", "pii")
    lake.grant("group:staff", "discover", "lake", reason="everybody finds everything")
    for name in ("ben", "cleo", "dan"):
        lake.add_member("group:staff", f"user:{name}")
    made = {}
    for name, on in (("ben", "flights.flights"), ("cleo", "namespace:flights"), ("dan", "weather.weather")):
        with acting(f"user:{name}"):
            purpose = f"To find out why flights are late. {SCRIPT}"
            made[name] = lake.request_access(on, ["read", "external_use"], purpose=purpose, days=30).id
    lake.approve_access(made["dan"], privileges=["read"], days=14, reason="for the summer's report")
    lake.refuse_access(made["cleo"], "Ask for single datasets.")


def write_day(lake: Lake, day: date, *, with_weather: bool = True) -> None:
    """Write a day of flights and, where wanted, of weather, and declare it complete."""
    count = 60
    flights = pa.table(
        {
            "carrier": ["AA", "B6", "UA"] * (count // 3),
            "flight": range(count),
            "day": [day] * count,
            "dep_delay": [float(number % 40) for number in range(count - 1)] + [None],
            "note <b>": [SCRIPT, None, "", "long " * 100] * (count // 4),
            "legs": [["JFK", SCRIPT]] * count,
            "raw": [b"\x00\xff" * 40] * count,
        },
        schema=FLIGHTS,
    )
    lake.dataset("flights.flights").write(flights, "upsert", completes=day)
    if with_weather:
        hours = [datetime(day.year, day.month, day.day, hour, tzinfo=UTC) for hour in range(24)]
        weather = pa.table(
            {
                "origin": ["JFK"] * 24,
                "hour": hours,
                "temperature": [10.0 + hour / 4 for hour in range(24)],
                "remark": [None] * 24,
            },
            schema=WEATHER,
        )
        lake.dataset("weather.weather").write(weather, "upsert", completes=day)
