"""Which allocator a lake lets Arrow use, told by processes of their own: it is chosen once for a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHOSEN = "ARROW_DEFAULT_MEMORY_POOL"
"""Snowflake's connector sets it in whichever test imports it."""
OPENED = """
import sys, cordillera, pyarrow as pa
{}
cordillera.create(sys.argv[1]).close()
print(pa.default_memory_pool().backend_name)
"""


@pytest.mark.parametrize(
    ("before", "environment", "allocator"),
    [
        ("", {}, "jemalloc"),
        ("pa.set_memory_pool(pa.system_memory_pool())", {}, "system"),
        ("", {CHOSEN: "mimalloc"}, "mimalloc"),
    ],
    ids=["nothing is said", "the program has chosen one", "the environment names one"],
)
def test_a_lake_prefers_jemalloc_to_what_nobody_chose(
    tmp_path: Path, before: str, environment: dict[str, str], allocator: str
) -> None:
    program = OPENED.format(before)
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "lake")],
        env={name: value for name, value in os.environ.items() if name != CHOSEN} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == allocator
