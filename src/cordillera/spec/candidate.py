"""Candidates: snapshots that a contract has refused, kept on a branch of their own where they can be looked at.

A candidate is what a commit would have made of a dataset. Readers of ``main`` see nothing of it. It is read, corrected
and published like any other branch, and goes after a week, or when newer ones take its place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, count
from uuid import UUID

from cordillera.spec.contract import Violation
from cordillera.spec.refs import Retention

MOST = 5
"""How many a dataset version has; one more takes the place of the oldest."""
KEPT_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot that broke a contract.

    Attributes:
        branch: The branch that it is kept on; ``as_of`` takes its name.
        sequence_number: The snapshot's.
        base: The sequence number of what readers saw when it was refused; 0 for the empty table.
        refused_by: Whose commit it was.
        expires_at: When it goes, with its files.
        contract_revision: The contract that it broke.
        violations: The rules that it broke. Examples are not kept, but looked up for whoever asks.
    """

    dataset_version_id: UUID
    branch: str
    sequence_number: int
    base: int
    refused_by: str
    refused_at: datetime
    expires_at: datetime
    contract_revision: int
    violations: tuple[Violation, ...]


def free_name(sequence_number: int, taken: Collection[str]) -> str:
    """Return the name of a candidate's branch: after its sequence number, and no other branch's or tag's."""
    name = f"candidate-{sequence_number}"
    return next(one for one in chain([name], (f"{name}-{n}" for n in count(2))) if one not in taken)


def retention(snapshots: int) -> Retention:
    """Return how long snapshot expiry keeps a candidate of so many snapshots, and the one that it was made from."""
    age = int(KEPT_FOR.total_seconds() * 1000)
    return Retention(max_ref_age_ms=age, max_snapshot_age_ms=age, min_snapshots_to_keep=snapshots + 1)


def surplus(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those that have to go before another one is kept: all but the newest."""
    newest = sorted(candidates, key=lambda one: one.sequence_number, reverse=True)
    return newest[MOST - 1 :]
