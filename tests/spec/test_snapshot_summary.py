"""From summaries alone it is told that no key can have gone: never wrongly, whoever committed what."""

from __future__ import annotations

import itertools
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.spec.manifest import TableOperation
from cordillera.spec.merge import Operation
from cordillera.spec.snapshot_summary import contract_mark, has_met, keys_stay
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from tests.spec.test_commit import snapshot, table

Kind = tuple[str, dict[str, str]]
Keys = frozenset[int]
OURS, EVERY = {"engine-name": "cordillera"}, frozenset(range(10))
KEEPING: list[Kind] = [(one, OURS) for one in (Operation.APPEND, Operation.UPSERT, Operation.PARTIAL_UPDATE)]
KEEPING += [(TableOperation.COMPACT, {**OURS, "operation": "replace"}), ("", {"operation": "replace"})]
TAKING: list[Kind] = [
    *((one, OURS) for one in (Operation.DELETE, Operation.MERGE, Operation.REPLACE, Operation.REPLACE_PARTITIONS)),
    (TableOperation.ROLLBACK, OURS),
    ("", OURS),
    ("upsert", {"operation": "overwrite"}),
    ("append", {"engine-name": "spark", "operation": "append"}),
]


def committed(kinds: list[Kind], parents: list[int]) -> tuple[TableMetadata, list[Keys]]:
    """Commit each on top of an earlier one, so many back; what may take keys away takes the next one away."""
    made: list[IcebergSnapshot] = []
    keys: list[Keys] = []
    for number, ((operation, says), back) in enumerate(zip(kinds, parents, strict=True)):
        parent = number - back
        summary = {"cordillera.operation": str(operation), **says}
        made.append(replace(snapshot(number + 1, 101 + parent if parent >= 0 else None), summary=summary))
        before = keys[parent] if parent >= 0 else EVERY
        keys.append(before if (operation, says) in KEEPING else before - {number})
    return table().with_changes(snapshots=tuple(made)), keys


@pytest.mark.parametrize("parents", [[1, 1, 1, 1], [1, 1, 2, 1], [1, 1, 1, 3]], ids=str)
def test_keys_that_are_said_to_stay_do(parents: list[int]) -> None:
    for middle in itertools.product([*KEEPING, *TAKING], repeat=2):
        metadata, keys = committed([KEEPING[0], *middle, KEEPING[1]], parents)
        for before, after in itertools.product(range(4), repeat=2):
            if keys_stay(metadata, metadata.snapshots[before], metadata.snapshots[after]):
                assert keys[before] <= keys[after], (middle, before, after)


@given(st.lists(st.sampled_from(KEEPING), min_size=2))
def test_keys_stay_where_nothing_takes_any(kinds: list[Kind]) -> None:
    metadata, _ = committed(kinds, [1] * len(kinds))
    first, *_, last = metadata.snapshots
    assert keys_stay(metadata, first, last)
    assert keys_stay(metadata, None, last)
    assert not keys_stay(metadata, last, first), "what came later does not lead to what was before"
    assert not keys_stay(metadata.with_changes(snapshots=metadata.snapshots[1:]), first, last), "the first has expired"


@pytest.mark.parametrize(
    ("says", "met"),
    [
        ({**OURS, "cordillera.contract": contract_mark(UUID(int=1), 2)}, True),
        ({**OURS, "cordillera.contract": contract_mark(UUID(int=1), 1)}, False),
        ({**OURS, "cordillera.contract": contract_mark(UUID(int=2), 2)}, False),
        ({"cordillera.contract": contract_mark(UUID(int=1), 2)}, False),
        (OURS, False),
        ({**OURS, "operation": "replace"}, True),
    ],
    ids=["the same", "an earlier one", "another dataset's", "another engine says so", "none", "moved rows"],
)
def test_rows_have_met_the_contract_that_ours_were_held_to(says: dict[str, str], met: bool) -> None:
    assert has_met(replace(snapshot(1, None), summary=says), contract_mark(UUID(int=1), 2)) is met
    assert contract_mark(UUID(int=1), 0) == ""
