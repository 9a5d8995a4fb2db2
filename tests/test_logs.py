"""What programs log, and where."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

import cordillera
from cordillera.logs import configure_logging, redact, redact_text
from tests.cli.harness import clean_environment, run_program


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("alembic", "stamina", "snowflake"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
def test_commits_that_are_repeated_are_not_told(capsys: pytest.CaptureFixture[str], level: int) -> None:
    configure_logging(json=True, level=level)
    logging.getLogger("stamina").warning("stamina.retry_scheduled")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("logging_as_before")
def test_connections_to_snowflake_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(json=True, level=logging.INFO)
    logging.getLogger("snowflake.connector.connection").info("Snowflake Connector for Python Version: 4.8.1")
    assert capsys.readouterr().err == ""


def test_a_worker_says_what_it_does_and_nothing_else(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    cordillera.create(lake).close()
    done = run_program("worker", "--until-idle", "--lake", lake)
    assert (done.code, done.out, done.err) == (0, "", "Done: 0 events, 0 tasks.\n")
    done = run_program("migrate", "--lake", lake)
    assert (done.code, done.out) == (0, "")
    assert "Context impl" not in done.err


_FAILING_DELIVERY = """
import sys, time
import cordillera
from cordillera.worker import worker_process

if __name__ == "__main__":
    with cordillera.create(sys.argv[1]) as lake:
        lake.create_namespace("sales")
        dataset = lake.create_dataset("sales.orders", {"id": "int64"}, key=["id"])
        dataset.write([{"id": 1}], "append")
        lake.backend.create_target("gone", "postgres", {"dsn": "host=127.0.0.1 port=1 dbname=x"}, check=False)
        dataset.subscribe("gone")
    with worker_process(sys.argv[1]):
        deadline = time.monotonic() + 60
        with cordillera.open(sys.argv[1]) as lake:
            while not any(task.attempts for task in lake.backend.tasks()) and time.monotonic() < deadline:
                time.sleep(0.1)
"""


def test_a_worker_process_leaves_stdout_to_results(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_FAILING_DELIVERY)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "lake"],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=180,
        check=True,
    )
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["level"] for line in lines} <= {"warning", "error"}


@pytest.mark.parametrize(
    "text",
    [
        "took cdl_abcDEF-123_x",
        "at postgresql://user:s3cret@host/db",
        "Password = 's3cret'",
        "with passwd:s3cret, then",
        "SECRET_KEY=s3cret",
        "secret: s3cret",
        "BEARER s3cret",
    ],
)
def test_secrets_are_taken_out_of_texts(text: str) -> None:
    kept = redact_text(f"before {text} after")
    assert "…" in kept
    assert "s3cret" not in kept
    assert "abcDEF" not in kept
    assert kept.startswith("before ")


def test_secrets_are_taken_out_by_name() -> None:
    line = redact(
        None, "", {"event": "x", "api_key": "a", "inner": {"db_password": "b", "passwords": 3}, "token": None}
    )
    assert line == {"event": "x", "api_key": "…", "inner": {"db_password": "…", "passwords": 3}, "token": None}
