"""Which allocator a lake lets Arrow use, told by a process of its own: it is chosen for the whole of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHOSEN = "ARROW_DEFAULT_MEMORY_POOL"
"""Snowflake's connector sets it in whichever test imports it."""
OPENED = f"""
import os, sys, cordillera, pyarrow as pa

def opened(choose):
    choose()
    cordillera.open(sys.argv[1]).close()
    print(pa.default_memory_pool().backend_name)

usual = pa.default_memory_pool()
cordillera.create(sys.argv[1]).close()
opened(lambda: pa.set_memory_pool(pa.system_memory_pool()))
opened(lambda: (pa.set_memory_pool(usual), os.environ.update({CHOSEN}="mimalloc")))
opened(lambda: os.environ.pop("{CHOSEN}"))
"""


def test_a_lake_prefers_jemalloc_to_what_nobody_chose(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", OPENED, str(tmp_path / "lake")],
        env={name: value for name, value in os.environ.items() if name != CHOSEN},
        capture_output=True,
        text=True,
        check=True,
    )
    by_the_program, by_the_environment, by_nobody = told.stdout.split()
    assert (by_the_program, by_the_environment, by_nobody) == ("system", "mimalloc", "jemalloc")
