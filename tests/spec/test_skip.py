"""Leaving out snapshots, against a model that walks from one to the next."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError
from cordillera.spec.skip import Skip, Stretch, check_range, cut, stretches

RANGES = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 4)), max_size=4)


def skip(first: int, last: int) -> Skip:
    return Skip(1, UUID(int=1), first, last, "user:ana", datetime(2026, 1, 1, tzinfo=UTC), "poisoned")


@given(RANGES, st.integers(0, 6), st.integers(0, 10))
def test_every_snapshot_is_delivered_or_left_out_as_it_was_said(
    ranges: list[tuple[int, int]], held: int, more: int
) -> None:
    latest, skips = held + more, [skip(first, first + length) for first, length in ranges]
    expected = {
        number: any(one.first_sequence <= number <= one.last_sequence for one in skips)
        for number in range(held + 1, latest + 1)
    }
    found, at = {}, held
    way = stretches(held, latest, skips)
    for stretch in way:
        found |= dict.fromkeys(range(at + 1, stretch.upto + 1), stretch.skipped)
        at = stretch.upto
    assert found == expected
    assert at == latest
    delivered = [stretch.upto for stretch in way if not stretch.skipped]
    assert delivered == sorted(set(delivered))


@given(RANGES, st.dictionaries(st.integers(1, 12), st.integers(0, 9)), st.integers(1, 12))
def test_a_way_is_cut_at_commits_and_brings_no_more_than_it_may(
    ranges: list[tuple[int, int]], sizes: dict[int, int], most: int
) -> None:
    way = stretches(0, 12, [skip(first, first + length) for first, length in ranges])
    found, at = cut(way, 0, sizes, most), 0
    assert [one for one in found if one in way] == list(way)
    for stretch in found:
        inside = {number: size for number, size in sizes.items() if at < number <= stretch.upto and size}
        assert stretch.skipped or sum(inside.values()) <= most or len(inside) == 1
        assert stretch in way or stretch.upto in sizes
        at = stretch.upto
    assert cut(way, 0, sizes, 999) == way


def test_without_skips_there_is_one_delivery_even_of_nothing() -> None:
    assert stretches(3, 9, []) == (Stretch(9),)
    assert stretches(3, 3, [skip(1, 3)]) == (Stretch(3),)


@pytest.mark.parametrize(
    ("first", "last", "why"),
    [(5, 4, "end before"), (3, 4, "holds snapshot 3"), (8, 11, "latest is 10"), (5, 6, "of snapshots 6 to 7 already")],
)
def test_a_range_that_cannot_be_is_refused(first: int, last: int, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        check_range(first, last, held=3, latest=10, waiting=[skip(6, 7)])
    check_range(8, 10, held=3, latest=10, waiting=[skip(6, 7)])
