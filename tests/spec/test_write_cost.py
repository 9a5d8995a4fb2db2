"""Marking rows or rewriting a file: the more is deleted, the more speaks for rewriting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cordillera.spec.write_cost import TouchedFile

SIZES = st.integers(1, 2**40)
ROWS = st.integers(1, 10**9)


@given(SIZES, ROWS, st.data())
def test_more_deleted_rows_never_speak_against_rewriting(size: int, rows: int, data: st.DataObject) -> None:
    few = data.draw(st.integers(0, rows))
    many = data.draw(st.integers(few, rows))
    less, more = TouchedFile(size, rows, few), TouchedFile(size, rows, many)
    assert less.marking_cost <= more.marking_cost
    assert less.rewriting_cost >= more.rewriting_cost
    assert more.is_better_rewritten or not less.is_better_rewritten


@given(SIZES, ROWS)
def test_a_file_that_loses_nothing_is_not_rewritten(size: int, rows: int) -> None:
    assert not TouchedFile(size, rows, 0).is_better_rewritten


@given(st.integers(0, 10**6))
def test_small_files_are_marked(deleted: int) -> None:
    assert not TouchedFile(100_000, 10**6, deleted).is_better_rewritten


def test_a_large_file_is_rewritten_once_a_good_part_of_it_is_gone() -> None:
    assert not TouchedFile(128 * 2**20, 10**6, 100_000).is_better_rewritten
    assert TouchedFile(128 * 2**20, 10**6, 500_000).is_better_rewritten


def test_what_costs_less_than_creating_a_file_is_small() -> None:
    assert TouchedFile(100_000, 1, 0).is_small
    assert not TouchedFile(10**6, 1, 0).is_small
