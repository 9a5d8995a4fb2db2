"""Data files are held to what their manifests say, whatever the types of their columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.conversions import to_bytes

from cordillera.errors import CorruptDataError, InvalidInputError
from cordillera.ports.storage import Storage
from cordillera.spec.arrow_types import primitive
from cordillera.spec.merge import Operation
from cordillera.table.content_file import ContentFile
from cordillera.table.external_files import check_files
from cordillera.table.live_files import LiveFile
from cordillera.table.manifests import decode_manifest
from tests.table.harness import LooseTable
from tests.table.test_key_types import KEYS, batch

SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.int64())])
TRANSFORMS = {
    "date": ["k", "year(k)", "month(k)", "day(k)", "bucket(4, k)"],
    "timestamp": ["k", "year(k)", "hour(k)", "bucket(4, k)"],
    "timestamptz": ["k", "day(k)"],
    "time": ["k", "bucket(4, k)"],
    "string": ["k", "truncate(2, k)", "bucket(4, k)"],
    "binary": ["k", "truncate(2, k)", "bucket(4, k)"],
    "long": ["k", "truncate(10, k)", "bucket(4, k)"],
    "small-decimal": ["k", "bucket(4, k)"],
    "uuid": ["k", "bucket(4, k)"],
    "fixed": ["k", "bucket(4, k)"],
    "float": ["k"],
    "bool": ["k"],
}
LAYOUTS = [(kind, ()) for kind in KEYS] + [(kind, (term,)) for kind, terms in TRANSFORMS.items() for term in terms]


def as_stored(table: LooseTable) -> list[LiveFile]:
    """Return the live files with nothing known of them but what the manifests say."""
    snapshot = table.metadata.current_snapshot
    assert snapshot is not None
    manifests = table.io.files.manifests(snapshot)
    entries = [entry for one in manifests for entry in decode_manifest(table.io.storage.read(one.manifest_path), one)]
    return [LiveFile(entry, None) for entry in entries]


def described(live: LiveFile, **other: Any) -> LiveFile:
    return replace(live, data=replace(live.data, file=replace(live.file, **other)))


def check(table: LooseTable, *files: LiveFile) -> None:
    check_files(table.io, table.metadata, files, "test.table")


@pytest.mark.parametrize(("kind", "partitioning"), LAYOUTS)
def test_what_is_true_is_believed(tmp_path: Path, kind: str, partitioning: tuple[str, ...]) -> None:
    arrow, values = KEYS[kind]
    schema = pa.schema([("k", arrow), ("v", pa.int64())])
    table = LooseTable(tmp_path, schema, partitioning=partitioning)
    table.write(Operation.APPEND, batch(arrow, [*values, None], 1))
    files = as_stored(table)
    check(table, *files)
    for live in files:  # footers are not needed for it, and what another engine leaves out is not missed
        check(table, described(live, lower_bounds={}, upper_bounds={}, null_value_counts={}))
    if partitioning and len(files) > 1:
        with pytest.raises(InvalidInputError, match="partition"):
            check(table, *(described(live, partition=files[0].file.partition) for live in files))


@pytest.mark.parametrize("kind", [kind for kind in KEYS if kind != "bool"])
def test_bounds_that_leave_out_rows_are_not(tmp_path: Path, kind: str) -> None:
    arrow, values = KEYS[kind]
    table = LooseTable(tmp_path, pa.schema([("k", arrow), ("v", pa.int64())]))
    table.write(Operation.APPEND, batch(arrow, values, 1))
    (live,) = as_stored(table)
    low, high = live.file.lower_bounds.get(1), live.file.upper_bounds.get(1)
    if low is not None and low != live.file.upper_bounds.get(1, low):
        with pytest.raises(InvalidInputError, match="beyond the bounds"):
            check(table, described(live, upper_bounds={1: low}))
    if high is not None and high != low:
        with pytest.raises(InvalidInputError, match="beyond the bounds"):
            check(table, described(live, lower_bounds={1: high}))


def test_exact_bounds_of_long_texts_are_believed_though_footers_shorten_them(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, pa.schema([("k", pa.string())]))
    least, greatest = "a" * 99, "z" * 99
    table.write(Operation.APPEND, pa.table({"k": [least, greatest]}))
    (live,) = as_stored(table)
    kind = primitive(table.metadata.schema.find_field("k"))
    exact = {"lower_bounds": {1: to_bytes(kind, least)}, "upper_bounds": {1: to_bytes(kind, greatest)}}
    check(table, described(live, **exact))
    with pytest.raises(InvalidInputError, match="beyond the bounds"):
        check(table, described(live, **exact | {"upper_bounds": {1: to_bytes(kind, greatest[1:])}}))


def rewritten(live: LiveFile, rows: pa.Table) -> ContentFile:
    """Put other rows in a file's place and return it described as before, but for its size."""
    path = Path(live.path.removeprefix("file://"))
    pq.write_table(rows, path)
    return replace(live.file, file_size_in_bytes=path.stat().st_size, record_count=rows.num_rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pa.table({"k": ["1"], "v": [1]}), "as string, not long"),
        (pa.table({"k": [1.5], "v": [1]}), "as double, not long"),
        (pa.table({"k": pa.array([None], pa.int64()), "v": [1]}), "NULL"),
        (pa.table({"v": [1]}), "lacks the required column 'k'"),
    ],
)
def test_columns_are_of_the_tables_types(tmp_path: Path, rows: pa.Table, message: str) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("k",))
    table.write(Operation.APPEND, [{"k": 1, "v": 1}])
    (live,) = as_stored(table)
    file = replace(rewritten(live, rows), lower_bounds={}, upper_bounds={})
    with pytest.raises(InvalidInputError, match=message):
        check(table, replace(live, data=replace(live.data, file=file)))


def test_narrower_columns_and_columns_that_came_later_are_fine(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA)
    table.write(Operation.APPEND, [{"k": 1, "v": 1}])
    (live,) = as_stored(table)
    file = replace(rewritten(live, pa.table({"k": pa.array([1], pa.int32())})), null_value_counts={})
    check(table, replace(live, data=replace(live.data, file=replace(file, lower_bounds={}, upper_bounds={}))))


def test_a_file_that_is_missing_or_cut_off_is_named(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA)
    table.write(Operation.APPEND, [{"k": 1, "v": 1}])
    (live,) = as_stored(table)
    path = Path(live.path.removeprefix("file://"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptDataError, match=path.name):
        check(table, live)
    path.unlink()
    with pytest.raises(CorruptDataError, match=path.name):
        check(table, live)


def test_a_size_that_is_not_the_files_is_refused(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA)
    table.write(Operation.APPEND, [{"k": 2, "v": 1}])
    with pytest.raises(InvalidInputError, match="bytes"):
        check(table, *(described(live, file_size_in_bytes=1) for live in as_stored(table)))


def test_several_files_are_looked_at_at_once_and_the_first_wrong_one_is_told(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, partitioning=("k",))
    table.write(Operation.APPEND, pa.table({"k": range(20), "v": range(20)}))
    files = as_stored(table)
    together = Together(table.io.storage)
    table.io.storage = together
    check(table, *files)
    assert 1 < together.most <= 8
    wrong = [described(live, file_size_in_bytes=1) if number in (5, 9) else live for number, live in enumerate(files)]
    with pytest.raises(InvalidInputError, match=files[5].path):
        check(table, *wrong)


class Together:
    """A storage that opens its first two files when both are asked for, and counts how many are open at once."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._met, self._counting = storage, Barrier(2), Lock()
        self.open = self.most = self._opened = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    @contextmanager
    def open_input(self, uri: str) -> Iterator[pa.NativeFile]:
        with self._counting:
            self.open, self._opened = self.open + 1, self._opened + 1
            self.most, first = max(self.most, self.open), self._opened <= 2
        try:
            if first:
                self._met.wait(30)
            with self._storage.open_input(uri) as source:
                yield source
        finally:
            with self._counting:
                self.open -= 1
