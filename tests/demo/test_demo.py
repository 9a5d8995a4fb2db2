"""The demo, for its first days, on real servers."""

from __future__ import annotations

import io
import warnings
from datetime import date
from pathlib import Path

import pytest

from cordillera.cli import terminal
from cordillera.demo.flights import run


def test_what_the_demo_writes_into_a_pipe_is_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # as after `make demo`, which activates no environment
    piped = io.StringIO()
    monkeypatch.setattr("sys.stdout", piped)
    folder = tmp_path / ("a-folder-with-a-name-that-is-long-" * 3)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        report = run(folder, terminal.console(), until=date(2013, 1, 2))
    assert report.succeeded
    lines = piped.getvalue().splitlines()
    assert f"  cordillera dataset show flights.flights --lake {folder}" in lines
    assert any(line.startswith("  source ") and line.endswith("bin/activate") for line in lines)
    assert any(line.startswith("2 days in ") for line in lines)
    assert max(map(len, lines)) > 100
    assert [str(one.message) for one in warned if "XDG_RUNTIME_DIR" in str(one.message)] == []
