from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.servers_s3 import S3Server

from cordillera.adapters.storage import build_storage
from cordillera.adapters.synchronizers import build_synchronizer, files
from cordillera.adapters.synchronizers.file_formats import FORMATS
from cordillera.adapters.synchronizers.files import FilesSynchronizer
from cordillera.errors import InvalidConfigurationError, InvalidNameError, TargetDriftError, TypeMismatchError
from cordillera.ports.synchronizer import Synchronizer, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, OURS, rows_of, spelled, whole
from cordillera.testing.synchronizer_reload_suite import ReloadingSynchronizerSuite


class TestFilesOnThisMachine(ReloadingSynchronizerSuite):
    @pytest.fixture
    def synchronizer(self, tmp_path: Path) -> Synchronizer:
        return build_synchronizer("parquet", {"root": str(tmp_path / "exports")})


class TestTabSeparatedValues(ReloadingSynchronizerSuite):
    @pytest.fixture
    def synchronizer(self, tmp_path: Path) -> Synchronizer:
        return build_synchronizer("tsv", {"root": str(tmp_path / "exports")})


class TestFilesOnS3(ReloadingSynchronizerSuite):
    @pytest.fixture
    def synchronizer(self, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Synchronizer:
        monkeypatch.setenv("EXPORT_KEY", s3_server.access_key)
        monkeypatch.setenv("EXPORT_SECRET", s3_server.secret_key)
        settings = {"endpoint": s3_server.endpoint, "access_key_env": "EXPORT_KEY", "secret_key_env": "EXPORT_SECRET"}
        return build_synchronizer("parquet", {"root": f"s3://{s3_server.bucket}/exports/{uuid4()}", **settings})


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
    monkeypatch.setattr(files, "PART_BYTES", 8 * 1024 * 1024)
    amounts = pa.nulls(30_000, ORDERS.columns[2].type)
    columns = [pa.array(range(30_000), pa.int64()), pa.array(["x" * 900] * 30_000), amounts]
    rows = pa.table(columns, schema=ORDERS.arrow_schema())
    exports.apply(whole(ORDERS, (None, 1), rows))
    parts = json.loads(markers(root)[0].read_text())["files"]
    assert len(parts) == 2
    assert sum(part["rows"] for part in parts) == 30_000
    assert exports.read_rows(ORDERS).read_all().num_rows == 30_000


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


@pytest.mark.parametrize("settings", [{"keep": "0"}, {"keep": "many"}, {"secret_key": "open"}, {"root": "exports"}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError):
        build_synchronizer("parquet", {"root": str(tmp_path), **settings})
