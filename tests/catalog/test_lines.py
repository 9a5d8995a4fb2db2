"""Commits to one table wait for each other within a process, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cordillera.catalog import lines
from cordillera.catalog.lines import Lines


@pytest.fixture
def others() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_the_second_goes_when_the_first_is_done(others: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_PATIENCE_SECONDS", 600)
    line, order, begun = Lines(), [], threading.Event()

    def second() -> None:
        begun.set()
        with line.wait(["ns.orders"]):
            order.append("second")

    with line.wait(["ns.orders"]):
        waiting = others.submit(second)
        begun.wait()
        order.append("first")
    waiting.result()
    assert order == ["first", "second"]


def test_other_tables_do_not_wait(others: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_PATIENCE_SECONDS", 600)
    line = Lines()

    def elsewhere() -> str:
        with line.wait(["ns.customers", "ns.customers"]):
            return "done"

    with line.wait(["ns.orders"]):
        assert others.submit(elsewhere).result() == "done"


def test_whoever_has_waited_long_enough_goes_ahead(others: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_PATIENCE_SECONDS", 0)
    line = Lines()

    def impatient() -> str:
        with line.wait(["ns.orders"]):
            return "done"

    with line.wait(["ns.orders"]):
        assert others.submit(impatient).result() == "done"


def test_nothing_is_kept_of_tables_that_nobody_commits_to() -> None:
    line = Lines()
    with line.wait(["ns.b", "ns.a"]):
        assert len(line._lines) == 2
    assert line._lines == {}
