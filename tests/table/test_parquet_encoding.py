"""Columns are compressed where that makes them smaller, and read by anybody either way."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cordillera.table import thrift
from cordillera.table.parquet_assembly import ParquetSource
from cordillera.table.parquet_encoding import ParquetEncoding

ROWS = 30_000
DIGITS = random.Random(7)
TABLE = pa.table(
    {
        "random": pa.array([DIGITS.getrandbits(40) for _ in range(ROWS)]),
        "few": pa.array([DIGITS.choice(["red", "green", "blue", "grey"]) for _ in range(ROWS)]),
        "text": pa.array([f"the same words before {number}" for number in range(ROWS)]),
        "tags": pa.array([[f"tag {number % 7}", None] for number in range(ROWS)]),
        "place": pa.array([{"x": DIGITS.random(), "note": "somewhere" * 3} for _ in range(ROWS)]),
    }
)


def codecs(rows: pa.Table, path: Path) -> dict[str, str]:
    """Return the codecs by column path of a second file, after the first has told what compression is good for."""
    encoding = ParquetEncoding({}, 3)
    for _ in range(2):
        with encoding.writer(str(path), rows.schema, rows) as writer:
            writer.write_table(rows)
        encoding.learn(pq.read_metadata(path))
    group = pq.read_metadata(path).row_group(0)
    return {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}


def test_what_compression_hardly_makes_smaller_is_stored_as_it_is(tmp_path: Path) -> None:
    found = codecs(TABLE, tmp_path / "rows.parquet")
    assert {path for path, codec in found.items() if codec == "ZSTD"} >= {"text", "tags.list.element"}
    assert (found["random"], found["few"]) == ("UNCOMPRESSED", "UNCOMPRESSED")
    assert pq.read_table(tmp_path / "rows.parquet") == TABLE
    counted = duckdb.sql(f"SELECT sum(random), count(DISTINCT text) FROM '{tmp_path}/rows.parquet'").fetchall()
    assert counted == [(sum(TABLE.column("random").to_pylist()), ROWS)]


def test_of_few_rows_nothing_is_concluded(tmp_path: Path) -> None:
    found = codecs(TABLE.slice(0, 500), tmp_path / "rows.parquet")
    assert set(found.values()) == {"ZSTD"}


@pytest.mark.parametrize(("width", "most"), [(5, 16_384), (16, 2 * 6_553), (200, 1_024), (2_000, 1_024)])
def test_pages_are_small_however_wide_the_rows_that_are_encoded_at_a_time(width: int, most: int) -> None:
    texts = pa.table({"text": [f"{number:0{width}}" for number in range(ROWS)]})
    out = pa.BufferOutputStream()
    with ParquetEncoding({}, 3).writer(out, texts.schema, texts) as writer:
        writer.write_table(texts)
    source = ParquetSource(pa.BufferReader(out.getvalue()))
    chunk = source.chunks(0)["text"].field
    index = thrift.decode(source.read(chunk.value(4), chunk.value(5)))  # its offset index
    assert [page.value(3) for page in index.structs(1)] == list(range(0, ROWS, most))  # their first rows
