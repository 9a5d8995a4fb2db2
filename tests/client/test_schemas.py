"""A dataset takes its schema from whatever people have at hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from cordillera.client import Lake
from cordillera.client.lake import as_schema
from cordillera.errors import InvalidInputError, InvalidSchemaError

ARROW = pa.schema([("id", pa.int64()), ("name", pa.string()), ("day", pa.date32()), ("tags", pa.list_(pa.string()))])
TYPES = {"id": pl.Int64, "name": pl.String, "day": pl.Date, "tags": pl.List(pl.String)}
FRAME = pl.DataFrame({"id": [1], "name": ["a"], "day": [date(2026, 1, 1)], "tags": [["x"]]}, schema=TYPES)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(ARROW, id="pyarrow schema"),
        pytest.param(FRAME.to_arrow(), id="pyarrow table"),
        pytest.param(FRAME.to_arrow().to_reader(), id="pyarrow reader"),
        pytest.param(dict(zip(ARROW.names, ARROW.types, strict=True)), id="dict of pyarrow types"),
        pytest.param(FRAME, id="Polars frame"),
        pytest.param(FRAME.lazy(), id="lazy Polars frame"),
        pytest.param(FRAME.schema, id="Polars schema"),
        pytest.param(TYPES, id="dict of Polars types"),
        pytest.param(dict(FRAME.schema), id="dict of Polars type objects"),
        pytest.param({"id": "int64", "name": pl.String(), "day": pa.date32(), "tags": TYPES["tags"]}, id="mixed dict"),
    ],
)
def test_a_schema_may_come_in_any_form(lake: Lake, source: Any) -> None:
    lake.create_namespace("a")
    dataset = lake.create_dataset("a.b", source, key=["id"])
    assert [(field.name, field.type) for field in dataset.schema] == list(zip(ARROW.names, ARROW.types, strict=True))
    dataset.write(FRAME, "upsert")
    assert pl.DataFrame(dataset.scan()).equals(FRAME)


def test_a_pandas_frame_has_a_schema(lake: Lake) -> None:
    lake.create_namespace("a")
    frame = pd.DataFrame({"id": [1, 2], "name": ["a", None], "at": pd.to_datetime(["2026-01-01", "2026-01-02"])})
    dataset = lake.create_dataset("a.b", frame, key=["id"])
    assert [str(field.type) for field in dataset.schema] == ["int64", "string", "timestamp[us]"]
    dataset.write(frame, "upsert")
    assert dataset.scan().to_pandas()["name"].isna().tolist() == [False, True]


def test_types_that_only_polars_has_become_their_nearest_kin(lake: Lake) -> None:
    lake.create_namespace("a")
    types = {"grade": pl.Enum(["low", "high"]), "kind": pl.Categorical(), "count": pl.UInt32}
    dataset = lake.create_dataset("a.b", types)
    assert [str(field.type) for field in dataset.schema] == ["string", "string", "int64"]
    dataset.write(pl.DataFrame({"grade": ["low"], "kind": ["x"], "count": [2**32 - 1]}, schema=types), "append")
    assert dataset.scan().to_arrow().to_pylist() == [{"grade": "low", "kind": "x", "count": 2**32 - 1}]


@pytest.mark.parametrize(
    "source", [5, "id int", ["id"], {"id": 5}, {"id": int}, {"id": "colour"}, pl.Series("id", [1]), pa.int64()]
)
def test_what_is_no_schema_is_refused(source: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        as_schema(source)
    assert "schema" in caught.value.message
    assert "Polars" in caught.value.hint


@pytest.mark.parametrize("source", [{"id": pl.Null}, {"id": pa.null()}])
def test_a_type_that_cannot_be_stored_is_refused(lake: Lake, source: Any) -> None:
    lake.create_namespace("a")
    with pytest.raises(InvalidSchemaError, match="id"):
        lake.create_dataset("a.b", source)
    assert list(lake.namespace("a").datasets()) == []
