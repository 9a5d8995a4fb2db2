"""The metadata files of a snapshot are written at the same time, nothing refers to one that is not there, and none is
left of a snapshot that fails.
"""

from __future__ import annotations

import threading
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pytest

from cordillera.adapters.storage.local import LocalStorage
from cordillera.errors import StorageFullError
from cordillera.spec.merge import Operation
from cordillera.table import manifest_encoding
from tests.table.harness import LooseTable

MONTHS = 4
write_for_real = LocalStorage.write


@pytest.fixture
def table(tmp_path: Path) -> LooseTable:
    schema = pa.schema([("id", pa.int64()), ("month", pa.int64())])
    table = LooseTable(tmp_path, schema, key=("id",), partitioning=("month",))
    table.write(Operation.APPEND, [{"id": n, "month": n % MONTHS} for n in range(100)])
    return table


def files(table: LooseTable) -> set[str]:
    return {found.uri for found in table.io.storage.list(table.metadata.location)}


def is_list(uri: str) -> bool:
    return "/snap-" in uri


def is_manifest(uri: str) -> bool:
    return uri.endswith(".avro") and not is_list(uri)


def test_the_manifests_of_a_snapshot_are_written_together_and_the_list_when_they_are_there(table: LooseTable) -> None:
    both_write = threading.Barrier(2)
    manifests: list[str] = []

    def write(storage: LocalStorage, uri: str, data: bytes) -> None:
        if is_list(uri):
            assert len(manifests) == 2
        if is_manifest(uri):
            both_write.wait(timeout=20)
        write_for_real(storage, uri, data)
        if is_manifest(uri):
            manifests.append(uri)

    with patch.object(LocalStorage, "write", write):
        table.write(Operation.UPSERT, [{"id": 1, "month": 1}])  # one file, and one deletion vector
    assert {one.manifest_path for one in table.io.files.manifests(table.metadata.current_snapshot)} >= {*manifests}


def test_a_snapshot_of_which_a_manifest_cannot_be_written_leaves_nothing(table: LooseTable) -> None:
    before, refused = files(table), threading.Event()

    def write(storage: LocalStorage, uri: str, data: bytes) -> None:
        if is_manifest(uri) and not refused.is_set():
            refused.set()
            raise StorageFullError("There is no room.")
        write_for_real(storage, uri, data)

    with patch.object(LocalStorage, "write", write), pytest.raises(StorageFullError, match="no room"):
        table.write(Operation.UPSERT, [{"id": 1, "month": 1}])
    assert files(table) == before
    table.write(Operation.UPSERT, [{"id": 1, "month": 1}])
    assert table.rows().num_rows == 100


def test_what_is_known_of_files_is_not_encoded_again_when_their_manifest_is(table: LooseTable) -> None:
    with patch.object(manifest_encoding, "_encode_statistics") as encode:
        table.delete_where("month = 1")
    assert not encode.call_count
    live = table.io.files.live(table.metadata.current_snapshot)
    fresh = LooseTable(Path(table.io.storage.root.removeprefix("file://")), table.arrow_schema()).io.files
    assert [one.data for one in fresh.live(table.metadata.current_snapshot)] == [one.data for one in live]
    assert len(live) == MONTHS - 1
