from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.adapters.synchronizers import killed_export


def test_an_export_killed_at_any_step_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, killed_export.__file__, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, second, partitions = map(int, done.stdout.split())
    assert first >= 6  # two claims, a file begun and ended, the manifest, the marker
    assert second >= 8  # and the export before removed
    assert partitions >= 6  # no claims, the files of one partition
