"""A lake with orders, and a DuckDB file that they are copied to, for subscriptions that keep more than a mirror."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from hypothesis import strategies as st

import cordillera
from cordillera.client import Lake

NAME = "sales.orders"
STEP = st.one_of(
    st.tuples(st.just("put"), st.dictionaries(st.integers(1, 4), st.integers(1, 3), min_size=1)),
    st.tuples(st.just("delete"), st.integers(1, 4)),
    st.just(("compact", None)),
    st.just(("deliver", None)),
)
"""What may happen next: amounts by order are written, an order is deleted, files are compacted, workers work."""


def made_in(folder: Path) -> Lake:
    lake = cordillera.create(folder / "lake")
    lake.create_namespace("sales")
    lake.create_dataset(NAME, {"id": pa.int64(), "amount": pa.int64()}, key=["id"])
    lake.create_target("copy", "duckdb", path=str(folder / "copy.duckdb"))
    return lake


def put(lake: Lake, amounts: dict[int, int]) -> None:
    lake.dataset(NAME).write([{"id": i, "amount": amount} for i, amount in amounts.items()], "upsert")
