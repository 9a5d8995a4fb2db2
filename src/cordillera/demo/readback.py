"""Reading the demo's result back with four libraries, and comparing it with what the package holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import pyarrow as pa

from cordillera.client import Lake
from cordillera.demo.definitions import CANCELLED, FLIGHTS
from cordillera.demo.feed import Feed, flight_schema
from cordillera.errors import MissingExtraError
from cordillera.spec.counting import counted

_TIME_TRAVEL_DAY = date(2013, 6, 14)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to hold at the end, and whether it does."""

    what: str
    holds: bool
    found: str


def check_everything(lake: Lake, feed: Feed) -> list[Check]:
    """Return the checks of the two datasets of flights, against each other, the package, and time."""
    names = feed.flights.schema.names
    flights = lake.dataset(FLIGHTS).scan(columns=names).to_arrow()
    both = pa.concat_tables([flights, lake.dataset(CANCELLED).scan(columns=names).to_arrow()])
    wanted = _checksum(feed.flights)
    found = _checksum(both)
    checks = [
        Check(
            "flights and cancelled flights together equal the package, row for row",
            found == wanted,
            f"{counted(both.num_rows, 'row')}, checksum {found}",
        )
    ]
    expected = _checksum(flights)
    for library, read in _READERS.items():
        rows = read(lake, names)
        checks.append(
            Check(f"{library} reads the same flights", _checksum(rows) == expected, counted(rows.num_rows, "row"))
        )
    return [*checks, _time_travel(lake, feed)]


def _checksum(rows: pa.Table) -> str:
    """Return an order-free checksum of rows, computed by DuckDB from plain SQL types."""
    connection = duckdb.connect()
    connection.register("rows_read", rows)
    columns = ", ".join(f'"{name}"' for name in sorted(rows.column_names) if name != "time_hour")
    total = connection.execute(
        f"SELECT count(*), sum(hash(row({columns}, epoch_us(time_hour)))::HUGEINT) FROM rows_read"
    ).fetchone()
    assert total is not None, "an aggregate always returns a row"
    return f"{total[0]}:{int(total[1] or 0) % 2**64:016x}"


def _with_polars(lake: Lake, names: list[str]) -> pa.Table:
    try:
        import polars
    except ImportError as error:
        raise MissingExtraError("Polars is not installed.", hint="pip install 'cordillera[demo]'.") from error
    frame = polars.DataFrame(lake.dataset(FLIGHTS).scan(columns=names))
    return _as_package_types(frame.to_arrow())


def _with_pandas(lake: Lake, names: list[str]) -> pa.Table:
    frame = lake.dataset(FLIGHTS).scan(columns=names).to_pandas()
    return _as_package_types(pa.Table.from_pandas(frame, preserve_index=False))


def _with_duckdb(lake: Lake, names: list[str]) -> pa.Table:
    scan = lake.dataset(FLIGHTS).scan(columns=names).to_reader()
    connection = duckdb.connect()
    connection.register("flights", scan)
    return _as_package_types(connection.execute("SELECT * FROM flights").to_arrow_table())


def _with_pyiceberg(lake: Lake, names: list[str]) -> pa.Table:
    from pyiceberg.table import StaticTable

    table = StaticTable.from_metadata(lake.dataset(FLIGHTS).metadata_location)
    return _as_package_types(table.scan(selected_fields=tuple(names)).to_arrow())


_READERS: dict[str, Callable[[Lake, list[str]], pa.Table]] = {
    "Polars": _with_polars,
    "pandas": _with_pandas,
    "DuckDB": _with_duckdb,
    "PyIceberg (plain, by path)": _with_pyiceberg,
}


def _as_package_types(rows: pa.Table) -> pa.Table:
    """Bring what a library returned to the types of the feed: pandas makes floats of integers with NULL."""
    schema = flight_schema()
    return rows.select(schema.names).cast(schema)


def _time_travel(lake: Lake, feed: Feed) -> Check:
    """Compare an earlier snapshot with what had arrived by then."""
    dataset, day = lake.dataset(FLIGHTS), _TIME_TRAVEL_DAY
    completion = dataset.completion(day)
    what = f"time travel to {day} shows that day"
    if completion is None:
        return Check(what, False, "the day is not complete")
    then = dataset.scan(columns=["time_hour"], as_of=completion.sequence_number).to_arrow().num_rows
    until = sum(feed.actuals(one).num_rows for one in feed.days() if one <= day)
    planned = feed.schedule(day + timedelta(days=1)).num_rows
    return Check(what, then == until + planned, f"{counted(then, 'row')} as of snapshot {completion.sequence_number}")
