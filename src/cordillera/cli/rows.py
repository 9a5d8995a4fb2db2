"""Showing rows, and writing them into a file, batch by batch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from cordillera.cli.files import check_csv, csv_writer, write_rows
from cordillera.cli.output import printable, show_json_array
from cordillera.cli.session import OutputFormat, current_session
from cordillera.cli.terminal import announce, print_rich, progress
from cordillera.schema_codec import rows_to_json
from cordillera.spec.narrowed import narrowed_by

ROWS_SHOWN = 20


def deliver_rows(rows: pa.RecordBatchReader, *, to: Path | None, limit: int | None) -> None:
    """Show rows in the session's format, or write them into a file.

    Args:
        rows: The rows, read as far as needed.
        to: The file, where they go into one.
        limit: Most rows; by default all, but only the first few as a table.
    """
    for narrowed in narrowed_by(rows.schema):
        announce(narrowed.in_words())
    if to is not None:
        with progress(f"Writing {to.name}") as advance:
            write_rows(_limited(rows, limit, advance), to)
        announce(f"Written: {to}.")
        return
    match current_session().output:
        case OutputFormat.JSON:
            show_json_array(_json_rows(_limited(rows, limit)))
        case OutputFormat.CSV:
            _print_csv(_limited(rows, limit))
        case OutputFormat.TABLE:
            _print_table(rows, limit if limit is not None else ROWS_SHOWN, chosen=limit is not None)


def most_rows(*, to: Path | None, limit: int | None) -> int | None:
    """Return how many rows ``deliver_rows`` will read at most; None for all."""
    if limit is None and to is None and current_session().output is OutputFormat.TABLE:
        limit = ROWS_SHOWN
    return None if limit is None else limit + 1  # the one more tells whether there are more


def _limited(
    rows: pa.RecordBatchReader, limit: int | None, advance: Callable[[int], None] = lambda _: None
) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        remaining = limit
        for batch in rows:
            wanted = batch if remaining is None else batch.slice(0, remaining)
            advance(wanted.num_rows)
            yield wanted
            if remaining is not None:
                remaining -= wanted.num_rows
                if remaining == 0:
                    return

    return pa.RecordBatchReader.from_batches(rows.schema, batches())


def watched(rows: pa.RecordBatchReader, advance: Callable[[int], None]) -> pa.RecordBatchReader:
    """Return the same rows, reporting how many have passed."""
    return _limited(rows, None, advance)


def _json_rows(rows: pa.RecordBatchReader) -> Iterator[str]:
    """Yield the rows of each batch as JSON objects, in the form the HTTP API has them."""
    for batch in rows:
        if batch.num_rows:
            document = rows_to_json(pa.Table.from_batches([batch]), truncated=False)
            yield orjson.dumps(orjson.loads(document)["rows"])[1:-1].decode()


def _print_csv(rows: pa.RecordBatchReader) -> None:
    check_csv(rows.schema)
    sys.stdout.flush()
    with csv_writer(sys.stdout.buffer, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
    sys.stdout.buffer.flush()


def _print_table(rows: pa.RecordBatchReader, limit: int, *, chosen: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for field in rows.schema:
        right = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        table.add_column(Text(printable(field.name)), justify="right" if right else "left", overflow="fold")
    found = _limited(rows, limit + 1).read_all()
    for row in found.slice(0, limit).to_pylist():
        table.add_row(*(_cell(value) for value in row.values()))
    print_rich(table)
    if found.num_rows > limit and not chosen:
        first = "row is" if limit == 1 else f"{limit:,} rows are"
        announce(f"The first {first} shown: see more with --limit, or write all with --to FILE.parquet.")


def _cell(value: Any) -> Any:
    from rich.text import Text

    return Text("NULL", style="dim") if value is None else Text(printable(str(value)))
