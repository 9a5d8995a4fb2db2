"""Lists that are longer than a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from cordillera.cli.paging import paged
from tests.cli.harness import Cli


class Numbers:
    """A paged list of the numbers from 1, which counts what is asked of it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[tuple[int, int]] = []

    def page(self, behind: int, size: int) -> list[int]:
        self.asked.append((behind, size))
        return list(range(behind + 1, min(behind + size, self.count) + 1))


def pages(numbers: Numbers, *, limit: int = 50, everything: bool = False) -> list[int]:
    return list(paged(numbers.page, 0, lambda number: number, limit=limit, everything=everything))


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 1000, 2500])
@pytest.mark.parametrize("limit", [1, 50, 999, 1000, 1001, 2500])
def test_a_limit(count: int, limit: int) -> None:
    assert pages(Numbers(count), limit=limit) == list(range(1, min(count, limit) + 1))


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2000])
def test_everything(count: int) -> None:
    numbers = Numbers(count)
    assert pages(numbers, everything=True) == list(range(1, count + 1))
    assert all(size == 1000 for _, size in numbers.asked)


def test_no_page_is_larger_than_the_largest_or_than_needed() -> None:
    numbers = Numbers(5000)
    pages(numbers, limit=1500)
    assert [size for _, size in numbers.asked] == [1000, 1000]
    few = Numbers(5000)
    pages(few, limit=10)
    assert few.asked == [(0, 11)]


def test_more_is_announced(orders: Path, cli: Cli) -> None:
    for number in range(3):
        cli("namespace", "create", f"n{number}")
    shown = cli("namespace", "list", "--limit", 2, "--output", "json")
    assert [one["name"] for one in shown.json()] == ["n0", "n1"]
    assert "There are more than 2" in shown.err
    exactly = cli("namespace", "list", "--limit", 4, "--output", "json")
    assert len(exactly.json()) == 4
    assert exactly.err == ""
    assert len(cli("namespace", "list", "--limit", 1, "--all", "--output", "json").json()) == 4


def test_newest_first_lists_go_on_behind_their_last_entry(
    orders: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cordillera.cli.paging._LARGEST_PAGE", 2)
    for day in range(1, 6):
        cli("completion", "declare", "sales.orders", f"2026-02-0{day}")
    labels = [one["partition"] for one in cli("completion", "list", "sales.orders", "--all", "-o", "json").json()]
    assert labels == [f"2026-02-0{day}" for day in (5, 4, 3, 2, 1)]
    numbers = [one["number"] for one in cli("event", "list", "--all", "-o", "json").json()]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == len(numbers) >= 7
