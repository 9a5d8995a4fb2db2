"""The example package of docs/how-to/write-a-synchronizer.md passes its tests, and its kind of target works."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.spec.subscription import Equality

PACKAGE = Path(__file__).parents[2] / "docs/examples/cordillera-feather"


def test_it_passes_the_behaviour_suite(tmp_path: Path) -> None:
    path = os.pathsep.join([str(PACKAGE / "src"), *sys.path])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        "-o",
        "addopts=",
        "-c",
        os.devnull,
    ]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "--basetemp", str(tmp_path / "base"), str(PACKAGE / "tests")],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout


def test_installed_it_adds_a_kind_of_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / "cordillera_feather-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (group,) = project["entry-points"].items()
    entries = [f"{kind} = {target}" for kind, target in group[1].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group[0]}]", *entries]))
    for place in (info.parent, PACKAGE / "src"):
        monkeypatch.syspath_prepend(str(place))
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales")
        orders = lake.create_dataset("sales.orders", {"id": pa.int64(), "note": pa.string()}, key=["id"])
        orders.write([{"id": 1, "note": "a"}, {"id": 2, "note": None}], "append")
        lake.create_target("files", "feather", folder=str(tmp_path))
        made = orders.subscribe("files")
        lake.run_pending()
        orders.write([{"id": 1, "note": "changed"}], "upsert")
        lake.run_pending()
        status = lake.backend.subscription(made.id)
        assert (status.in_step, status.subscription.equality) == (True, Equality.EQUAL)
        file = pa.ipc.open_file(str(tmp_path / "t-orders.arrow"))
        assert file.read_all().sort_by("id")["note"].to_pylist() == ["changed", None]
