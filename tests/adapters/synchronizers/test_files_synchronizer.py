from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.servers_s3 import S3Server

from cordillera.adapters.storage import build_storage
from cordillera.adapters.synchronizers import build_synchronizer, file_parts, files
from cordillera.adapters.synchronizers.file_formats import FORMATS
from cordillera.adapters.synchronizers.files import FilesSynchronizer
from cordillera.errors import (
    InvalidConfigurationError,
    InvalidNameError,
    NotAllowedError,
    TargetDriftError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, Synchronizer, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import (
    BY_CUSTOMER,
    ORDER_ROWS,
    ORDERS,
    OURS,
    deliver,
    rows_of,
    spelled,
    swapped,
    whole,
)
from cordillera.testing.synchronizer_reload_suite import ReloadingSynchronizerSuite
from cordillera.testing.synchronizer_swap_suite import SwappingSuite


class TestFilesOnThisMachine(ReloadingSynchronizerSuite):
    @pytest.fixture
    def synchronizer(self, tmp_path: Path) -> Synchronizer:
        return build_synchronizer("parquet", {"root": str(tmp_path / "exports")})


class TestTabSeparatedValues(ReloadingSynchronizerSuite):
    @pytest.fixture
    def synchronizer(self, tmp_path: Path) -> Synchronizer:
        return build_synchronizer("tsv", {"root": str(tmp_path / "exports")})


class TestPartitionsOnThisMachine(SwappingSuite):
    @pytest.fixture(params=["parquet", "tsv"])
    def synchronizer(self, tmp_path: Path, request: pytest.FixtureRequest) -> Synchronizer:
        return build_synchronizer(request.param, {"root": str(tmp_path / "exports"), "layout": "partitions"})


class TestFilesOnS3(SwappingSuite, ReloadingSynchronizerSuite):
    @pytest.fixture
    def synchronizer(self, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Synchronizer:
        monkeypatch.setenv("EXPORT_KEY", s3_server.access_key)
        monkeypatch.setenv("EXPORT_SECRET", s3_server.secret_key)
        settings = {"endpoint": s3_server.endpoint, "access_key_env": "EXPORT_KEY", "secret_key_env": "EXPORT_SECRET"}
        place = {"root": f"s3://{s3_server.bucket}/exports/{uuid4()}", "layout": "partitions"}
        return build_synchronizer("parquet", {**place, **settings})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "exports"


@pytest.fixture
def exports(root: Path) -> FilesSynchronizer:
    return FilesSynchronizer(build_storage(str(root), {}), FORMATS["parquet"], keep=2)


def markers(root: Path) -> list[Path]:
    return sorted(root.glob("orders/*/_SUCCESS"))


def test_readers_find_files_by_marker_and_manifest(exports: FilesSynchronizer, root: Path) -> None:
    exports.apply(whole(ORDERS, (None, 7), ORDER_ROWS))
    (path,) = markers(root)
    assert path.parent.name == "00000000000000000007-0000000000-0000"
    marker = json.loads(path.read_text())
    assert (marker["sequence_number"], marker["rows"]) == (7, 3)
    manifest = json.loads(Path(marker["manifest"].removeprefix("file://")).read_text())
    (entry,) = manifest["entries"]
    part = Path(entry["url"].removeprefix("file://"))
    assert (entry["mandatory"], entry["meta"]["content_length"]) == (True, part.stat().st_size)
    assert spelled(pq.read_table(part)) == spelled(ORDER_ROWS)


def test_tab_separated_values_are_what_readers_expect(tmp_path: Path) -> None:
    kinds = {"id": pa.int64(), "t": pa.string(), "x": pa.float64(), "l": pa.list_(pa.int32()), "d": pa.date32()}
    columns = tuple(TargetColumn(n, name, kind, n > 1) for n, (name, kind) in enumerate(kinds.items(), 1))
    table = TargetTable("t", columns, ("id",))
    rows = [
        {"id": 1, "t": 'a\tb "c"', "x": 0.1, "l": [1, None], "d": date(2026, 1, 31)},
        {"id": 2, "t": "", "x": None, "l": None, "d": None},
    ]
    target = build_synchronizer("tsv", {"root": str(tmp_path)})
    target.apply(whole(table, (None, 1), rows))
    (part,) = tmp_path.glob("t/*/*/part-00000.tsv")
    assert part.read_text("utf-8") == (
        '"id"\t"t"\t"x"\t"l"\t"d"\n1\t"a\tb ""c"""\t0.1\t"[1,null]"\t2026-01-31\n2\t""\t\t\t\n'
    )
    ancient = pa.table([[3], [None], [None], [None], pa.array([-1_000_000], pa.int32())], names=list(kinds))
    with pytest.raises(TypeMismatchError, match="'d'"):
        target.apply(whole(table, (1, 2), ancient.cast(table.arrow_schema())))
    large = {"id": 4, "t": 'a "line"\n\t' * 900_000, "x": float("nan"), "l": [], "d": None}
    target.apply(whole(table, (1, 2), [*rows, large, *({**row, "id": row["id"] + 9} for row in rows)]))
    found = target.read_rows(table).read_all().sort_by("id").to_pylist()
    assert found[2]["t"] == large["t"]
    assert [row["id"] for row in found] == [1, 2, 4, 10, 11]


def test_large_exports_have_several_files(
    exports: FilesSynchronizer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_parts, "PART_BYTES", 8 * 1024 * 1024)
    amounts = pa.nulls(30_000, ORDERS.columns[2].type)
    columns = [pa.array(range(30_000), pa.int64()), pa.array(["x" * 900] * 30_000), amounts]
    rows = pa.table(columns, schema=ORDERS.arrow_schema())
    exports.apply(whole(ORDERS, (None, 1), rows))
    parts = json.loads(markers(root)[0].read_text())["files"]
    assert len(parts) == 2
    assert sum(part["rows"] for part in parts) == 30_000
    assert exports.read_rows(ORDERS).read_all().num_rows == 30_000


def test_an_export_under_an_earlier_schema_is_the_newest(exports: FilesSynchronizer) -> None:
    renamed = replace(ORDERS, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], name="total")))
    rows = [{"id": 1, "customer": "Ana", "total": None}]
    under = {0: whole(ORDERS, (None, 1), ORDER_ROWS), 2: whole(renamed, (1, (1, 2)), rows)}
    exports.apply(under[0])
    for schema_id, held in ((2, 0), (0, 2), (1, 0), (0, 1)):  # other engines make one schema current, and another
        delivery = replace(under[schema_id and 2], from_cursor=Cursor(1, held), to_cursor=Cursor(1, schema_id))
        assert not exports.apply(delivery).already_applied
        assert exports.apply(delivery).already_applied
        assert exports.read_cursor(OURS) == Cursor(1, schema_id)
        assert rows_of(exports, delivery.table) == spelled(rows if schema_id else ORDER_ROWS)


def test_old_exports_go_and_so_do_files_of_attempts_a_day_old(
    exports: FilesSynchronizer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 5):
        exports.apply(whole(ORDERS, (number - 1 or None, number), ORDER_ROWS))
    assert [path.parent.name[:20].lstrip("0") for path in markers(root)] == ["3", "4"]
    assert len(list(root.glob("orders/*/*/*.parquet"))) == 2
    lost = markers(root)[-1].parent / str(uuid4()) / "part-00000.parquet"
    lost.parent.mkdir()
    lost.write_bytes(b"of a worker that died")
    exports.apply(whole(ORDERS, (4, 5), ORDER_ROWS))
    assert lost.exists()  # its worker may be at it
    monkeypatch.setattr(files, "_ABANDONED_AFTER", -files._ABANDONED_AFTER)
    exports.apply(whole(ORDERS, (5, 6), ORDER_ROWS))
    assert not lost.exists()
    assert rows_of(exports, ORDERS) == spelled(ORDER_ROWS)


def test_partitions_that_stay_keep_their_files_as_long_as_an_export_names_them(root: Path) -> None:
    exports = FilesSynchronizer(build_storage(str(root), {}), FORMATS["parquet"], keep=2, by_partition=True)
    exports.apply(whole(BY_CUSTOMER, (None, 1), ORDER_ROWS))
    first = {file["partition"]: file["uri"] for file in json.loads(markers(root)[0].read_text())["files"]}
    assert "/customer=Ana/part-" in first["customer=Ana"]
    for number in range(1, 4):
        exports.apply(swapped(BY_CUSTOMER, (number, number + 1), ORDER_ROWS[:1], ["customer=Ana"]))
        marker = json.loads(markers(root)[-1].read_text())
        now = {file["partition"]: file["uri"] for file in marker["files"]}
        assert {one for one in now if now[one] == first[one]} == set(first) - {"customer=Ana"}
        manifest = json.loads(Path(marker["manifest"].removeprefix("file://")).read_text())
        assert {entry["url"] for entry in manifest["entries"]} == set(now.values())
    assert len(markers(root)) == 2
    assert len(list(root.glob("orders/*/*/*/*.parquet"))) == 4  # two that stayed, Ana's of two exports
    assert marker["rows"] == exports.read_rows(BY_CUSTOMER).read_all().num_rows == 3


@pytest.mark.parametrize("harm", ["removed", "overwritten"])
def test_no_export_is_made_of_files_that_somebody_touched(root: Path, harm: str) -> None:
    exports = FilesSynchronizer(build_storage(str(root), {}), FORMATS["parquet"], by_partition=True)
    exports.apply(whole(BY_CUSTOMER, (None, 1), ORDER_ROWS))
    (part,) = root.glob("orders/*/*/customer=/*.parquet")
    part.unlink()
    if harm == "overwritten":
        part.write_bytes(b"PAR1 and something else")
    with pytest.raises(TargetDriftError, match="gone, or another"):
        exports.apply(swapped(BY_CUSTOMER, (1, 2), ORDER_ROWS[:1], ["customer=Ana"]))
    assert exports.read_cursor(OURS) == Cursor(1, 0)


def test_partitions_that_come_mixed_are_written_in_bounded_numbers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_parts, "_MOST_OPEN", 2)
    exports = FilesSynchronizer(build_storage(str(root), {}), FORMATS["parquet"], by_partition=True)
    rows = [{"id": number, "customer": "abc"[number % 3], "amount": None} for number in range(9)]
    pieces = [deliver(BY_CUSTOMER, (None, 1), rows[n : n + 1]).upserts().read_all() for n in range(9)]
    monkeypatch.setattr(files, "upsert_batches", lambda _: (piece.to_batches()[0] for piece in pieces))
    exports.apply(whole(BY_CUSTOMER, (None, 1), rows))
    assert rows_of(exports, BY_CUSTOMER) == spelled(rows)


def test_a_value_too_long_for_a_folder_is_told(root: Path) -> None:
    exports = FilesSynchronizer(build_storage(str(root), {}), FORMATS["parquet"], by_partition=True)
    with pytest.raises(NotAllowedError, match="too long"):
        exports.apply(whole(BY_CUSTOMER, (None, 1), [{"id": 1, "customer": "x" * 300, "amount": None}]))
    assert list(root.glob("orders/*/*/*/*")) == []


@pytest.mark.parametrize("harm", ["removed", "overwritten"])
def test_files_that_somebody_touched_are_drift(exports: FilesSynchronizer, root: Path, harm: str) -> None:
    exports.apply(whole(ORDERS, (None, 1), ORDER_ROWS))
    (part,) = root.glob("orders/*/*/*.parquet")
    part.unlink()
    if harm == "overwritten":
        part.write_bytes(b"PAR1 and something else")
    with pytest.raises(TargetDriftError, match="gone or damaged"):
        exports.read_rows(ORDERS).read_all()
    exports.apply(whole(ORDERS, (1, 2), ORDER_ROWS))
    assert rows_of(exports, ORDERS) == spelled(ORDER_ROWS)


def test_a_marker_that_somebody_wrote_is_drift(exports: FilesSynchronizer, root: Path) -> None:
    exports.apply(whole(ORDERS, (None, 1), ORDER_ROWS))
    for name in ("99999999999999999999-0000000000-0000", "theirs"):
        (root / "orders" / name).mkdir()
        (root / "orders" / name / "_SUCCESS").write_text("")
        with pytest.raises(TargetDriftError):
            exports.read_cursor(OURS)


@pytest.mark.parametrize("name", [".", "..", "_subscriptions", "_x"])
def test_names_that_mean_something_else_are_refused(exports: FilesSynchronizer, name: str) -> None:
    with pytest.raises(InvalidNameError):
        exports.apply(whole(TargetTable(name, ORDERS.columns, ORDERS.key), (None, 1), []))


@pytest.mark.parametrize(
    "settings", [{"keep": "0"}, {"keep": "many"}, {"secret_key": "open"}, {"root": "exports"}, {"layout": "flat"}]
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError):
        build_synchronizer("parquet", {"root": str(tmp_path), **settings})
