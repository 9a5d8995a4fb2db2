"""The merge suite at 100,000 rows: after every operation the table equals what the oracle says, in every write mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.merge_suite.contenders import Cordillera
from benchmarks.merge_suite.data import Step, Suite, prepare
from benchmarks.merge_suite.operations import CHANGES_NOTHING, OPERATIONS, WHOLE_PARTITIONS, Kind

from cordillera.table.reader import FileReader

ROWS, SCALE = 100_000, 0.1


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return prepare(tmp_path_factory.mktemp("merge-suite"), ROWS, SCALE)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The data files that are read."""
    paths: set[str] = set()
    plain = FileReader.read

    def noted(self: FileReader, live: Any, *arguments: Any) -> Any:
        paths.add(live.path)
        return plain(self, live, *arguments)

    monkeypatch.setattr(FileReader, "read", noted)
    return paths


def test_the_operations_are_those_of_the_suite(suite: Suite) -> None:
    assert [step.name for step in suite.steps] == [f"m{number}" for number in range(1, 38)]
    assert suite.rows == ROWS
    for operation, step in zip(OPERATIONS, suite.steps, strict=True):
        assert (step.inserted > 0) == (operation.new > 0 and step.name != CHANGES_NOTHING)
        assert (step.updated > 0) == (operation.kind is Kind.UPSERT and operation.matched > 0)


@pytest.mark.parametrize("mode", ["merge-on-read", "copy-on-write"])
def test_every_operation_leaves_what_the_oracle_says(suite: Suite, mode: str, tmp_path: Path, read: set[str]) -> None:
    table = Cordillera(suite, tmp_path, mode=mode)
    assert table.fingerprint() == (suite.rows, suite.fingerprint)
    for step in suite.steps:
        read.clear()
        files = _data_files(tmp_path)
        snapshots = len(table.dataset.snapshots(limit=100))
        result = table.apply(step)
        counts = (result.rows_inserted, result.rows_updated, result.rows_deleted, result.rows_late)
        assert counts == (step.inserted, step.updated, step.deleted, 0), step.name
        assert len(table.dataset.snapshots(limit=100)) - snapshots == (step.name != CHANGES_NOTHING)
        _check_files(step, mode, read=read, new=_data_files(tmp_path) - files)
        assert table.fingerprint() == (step.rows, step.fingerprint), step.name


def _data_files(folder: Path) -> set[Path]:
    return set(folder.rglob("*.parquet"))


def _check_files(step: Step, mode: str, *, read: set[str], new: set[Path]) -> None:
    if step.name in WHOLE_PARTITIONS:
        assert not read, f"{step.name} reads data"
    if step.name in (*WHOLE_PARTITIONS, CHANGES_NOTHING) or (
        mode == "merge-on-read" and not step.inserted + step.updated
    ):
        assert not new, f"{step.name} writes data"
