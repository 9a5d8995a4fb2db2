"""Run PyIceberg's own REST catalog tests, from its source distribution, against a lake: ``make test-pyiceberg``."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from cordillera.app import create_lake
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.tokens import administrators_token

VERSION = "0.12.0"
SHA256 = "19f165d298054f9436108691098b60fa0fa99d0eff5fb884700c43b29334a39d"
FILES = (
    "test_catalog",
    "test_rest_catalog",
    "test_rest_schema",
    "test_sort_order_update",
    "test_statistics_operations",
    "test_snapshot_operations",
    "test_partition_evolution",
)
ELSEWHERE = "not rest_test_catalog and not hive and not memory and not sqlite"
"""The same tests run against other catalogs, too."""


def fetch(folder: Path) -> Path:
    """Download the source distribution and return the folder with its tests, which see the PyIceberg installed."""
    if version("pyiceberg") != VERSION:
        raise SystemExit(f"PyIceberg {version('pyiceberg')} is installed; change VERSION and SHA256 in {__file__}.")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "pyiceberg"]
    subprocess.run([*command, "--dest", folder, f"pyiceberg=={VERSION}"], check=True)
    [archive] = folder.glob("*.tar.gz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{archive.name} is not the one that is known.")
    with tarfile.open(archive) as opened:
        wanted = [one for one in opened.getmembers() if "/tests/" in one.name or one.name.endswith("/pyproject.toml")]
        opened.extractall(folder, wanted, filter="data")
    unpacked = folder / f"pyiceberg-{VERSION}"
    # A fixture is overridden by one nearer to the tests.
    names = "from tests_of_lake import database_name, table_name, view_name  # noqa: F401\n"
    (unpacked / "tests" / "integration" / "conftest.py").write_text(names)
    (folder / "tests_of_lake.py").write_text(Path(__file__).with_name("against_lake.py").read_text("utf-8"))
    return unpacked


def main() -> int:
    """Run them, and return pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="cordillera-pyiceberg-") as name:
        folder = Path(name)
        unpacked = fetch(folder)
        with create_lake(folder / "lake") as app, running_server(create_server(app)) as url:
            app.namespaces.create("default", owner="user:tester")
            environment = {
                **os.environ,
                "LAKE_URI": f"{url}/iceberg",
                "LAKE_TOKEN": administrators_token(app),
                "PYTHONPATH": str(folder),  # nothing else: their package is called tests, like ours
            }
            tests = [f"tests/integration/{file}.py" for file in FILES]
            command = [sys.executable, "-m", "pytest", "-p", "tests_of_lake", "-q", "-rxX", "-W", "default"]
            command += ["-o", "addopts=", "-p", "no:cacheprovider", "--tb=short", *tests, "-k", ELSEWHERE]
            return subprocess.run([*command, *sys.argv[1:]], cwd=unpacked, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
