from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.adapters.synchronizers import killed_replication
from tests.rest_catalogs import RestCatalog

ROOT = Path(__file__).parents[3]


def rounds(catalog: RestCatalog, which: str, namespaces: int) -> list[int]:
    settings = {**catalog.settings, "namespaces": [catalog.new_namespace()["namespace"] for _ in range(namespaces)]}
    done = subprocess.run(
        [sys.executable, "-m", killed_replication.__name__, json.dumps(settings), which],
        check=False,
        capture_output=True,
        text=True,
        timeout=290,
        cwd=ROOT,
        env={**os.environ, **catalog.secrets},
    )
    assert done.returncode == 0, done.stderr
    return [int(count) for count in done.stdout.split()]


def test_a_delivery_killed_around_its_commit_is_there_whole_or_not_at_all(lake_elsewhere: RestCatalog) -> None:
    assert rounds(lake_elsewhere, "commit", 8) == [2, 2]


@pytest.mark.long
def test_a_delivery_killed_at_any_step_is_there_whole_or_not_at_all(lake_elsewhere: RestCatalog) -> None:
    first, second, history = rounds(lake_elsewhere, "all", 90)
    assert first >= 10  # the namespace told, a table staged, a file begun and ended, manifest and list, the commit
    assert second >= 7
    assert history >= 9  # a file of rows that end as well
