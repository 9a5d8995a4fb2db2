"""Manifests of other engines are read as they say that they are partitioned, or not at all."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from cordillera.errors import CorruptDataError
from cordillera.table.content_file import ManifestFile
from cordillera.table.manifests import DELETES, decode_manifest

LISTED = ManifestFile("file:///m", 0, 1, DELETES, 9, 9, 77, 0, 0, 0, 0, 0, 0)


def manifest(spec: dict[int, str], fields: dict[int, str], **values: int | None) -> bytes:
    """A manifest of one delete file, by the ids of a partitioning's fields and of those that its records have."""
    stored = {"content": 1, "file_path": "d", "file_format": "parquet", "record_count": 1, "file_size_in_bytes": 1}
    kinds = {name: "string" if isinstance(value, str) else "long" for name, value in stored.items()}
    partition = [{"name": name, "type": ["null", "int"], "field-id": number} for number, name in fields.items()]
    file = record("r2", {**kinds, "partition": record("r102", partition)})
    parts = [{"field-id": number, "name": name} for number, name in spec.items()]
    entry = {"status": 1, "data_file": {**stored, "partition": values}}
    data, schema = io.BytesIO(), record("manifest_entry", {"status": "int", "data_file": file})
    fastavro.writer(data, schema, [entry], metadata={"partition-spec": json.dumps(parts)})
    return data.getvalue()


def record(name: str, fields: Any) -> dict[str, Any]:
    """An Avro schema of a record."""
    named = [{"name": name, "type": kind} for name, kind in fields.items()] if isinstance(fields, dict) else fields
    return {"type": "record", "name": name, "fields": named}


def test_partition_values_are_found_by_the_ids_of_their_fields() -> None:
    (entry,) = decode_manifest(manifest({1000: "a-b", 1001: "c"}, {1001: "c", 1000: "a_x2Db"}, c=3, a_x2Db=2), LISTED)
    assert entry.file.partition == (2, 3)


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ({1000: "id_bucket", 1001: "id_truncate"}, {"id_bucket": None, "id_truncate": 40}),  # as DuckDB 1.5.5 has them
        ({1000: "id_bucket"}, {"id_bucket": 0}),
        ({}, {}),
    ],
)
def test_fields_of_another_partitioning_are_refused(fields: dict[int, str], values: dict[str, int | None]) -> None:
    with pytest.raises(CorruptDataError, match="is partitioned by id_truncate, and has partition values of") as refused:
        decode_manifest(manifest({1001: "id_truncate"}, fields, **values), LISTED)
    assert "DuckDB" in (refused.value.hint or "")


@pytest.mark.parametrize("header", [{}, {"partition-spec": "{"}, {"partition-spec": '[{"name": "a"}]'}])
def test_a_manifest_that_does_not_tell_its_partitioning_is_refused(header: dict[str, str]) -> None:
    data = io.BytesIO()
    fastavro.writer(data, record("manifest_entry", []), [], metadata=header)
    with pytest.raises(CorruptDataError, match="file:///m does not tell how it is partitioned"):
        decode_manifest(data.getvalue(), LISTED)
