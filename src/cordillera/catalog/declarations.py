"""Declaring partitions complete: any number of a dataset version in one transaction, with no change to its table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import orjson

from cordillera.catalog.commit_records import completion_payload, declare
from cordillera.catalog.commits import check_request, check_writable, in_doubt
from cordillera.catalog.leases import check_lease
from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import AlreadyExistsError, CommitConflictError, CommitInDoubtError, InvalidInputError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.catalog import CommitReceipt
from cordillera.spec.access import Privilege
from cordillera.spec.argument_types import check_idempotency_key
from cordillera.spec.completion import MOST_AT_ONCE, Completion, CompletionUnit, partition_label
from cordillera.spec.event import Topic
from cordillera.spec.names import parse_dataset_ref


class DeclarationService:
    """Declares partitions complete.

    Args:
        store: Keeps completions.
        lookup: Finds what whoever declares may.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, clock: Clock) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock

    def complete(
        self, name: str, partitions: Sequence[str | date], *, idempotency_key: str | None = None
    ) -> list[Completion]:
        """Declare partitions complete as of the dataset's current snapshot, all of them or none; again restates them.

        Args:
            name: The dataset, or one of its dataset versions.
            partitions: Labels, or dates in the partitions; one that is named twice is declared once.
            idempotency_key: Repeating the call under the same key has no further effect, and returns the same.

        Returns:
            The completions, in the order in which the partitions were first named.

        Raises:
            InvalidInputError: If it is no partition, or more than ``MOST_AT_ONCE``.
            InvalidPartitionError: If one is none of the dataset's.
            AccessDeniedError: If whoever declares may not write to the dataset.
            LifecycleError: If the dataset version is retired.
            IdempotencyKeyReusedError: If the key stands for something else.
            LeaseLostError: If it is done under a lease that has ended.
        """
        _check_number(name, partitions)
        check_idempotency_key(idempotency_key)
        ref, now = parse_dataset_ref(name), self._clock.now()
        try:
            with self._store.write_together() as tx:
                check_lease(tx, now)
                target = self._lookup.resolve(tx, ref, Privilege.WRITE)
                check_writable(target)
                unit = CompletionUnit(target.version.completion_unit)
                labels = list(dict.fromkeys(partition_label(unit, one, target.name) for one in partitions))
                tx.dataset_versions.lock(target.version.id)
                if idempotency_key is None:
                    return _declared(tx, target, labels, now)
                return _declared_once(tx, target, labels, now, idempotency_key)
        except CommitInDoubtError as error:
            raise in_doubt(name, idempotency_key, error) from error
        except AlreadyExistsError as error:
            raise CommitConflictError(error.message, hint="Do it again.") from error


def _declared(tx: Transaction, target: ResolvedDataset, labels: Sequence[str], now: datetime) -> list[Completion]:
    made = declare(tx, target.version, labels, current().principal, now)
    trail = Trail(tx, now)
    trail.events(Topic.PARTITION_COMPLETED, target.name, target.version.id, list(map(completion_payload, made)))
    completed = labels[0] if len(labels) == 1 else list(labels)
    details = {"sequence_number": target.version.sequence_number, "completed": completed}
    trail.audit("dataset.complete", "dataset", target.name, details)
    return made


def _declared_once(
    tx: Transaction, target: ResolvedDataset, labels: Sequence[str], now: datetime, key: str
) -> list[Completion]:
    """Declare partitions complete, or return what the same call did before."""
    version_id, request_hash = target.version.id, _hash_of(labels)
    if (receipt := tx.snapshots.receipt(version_id, key)) is not None:
        check_request(receipt, key, request_hash)
        return _repeated(tx, target, labels, receipt)
    made = _declared(tx, target, labels, now)
    outcome: dict[str, Any] = {
        "sequence_number": target.version.sequence_number,
        "completed": {one.partition: one.revision for one in made},
        "declared_by": current().principal,
        "declared_at": now.isoformat(),
    }
    tx.snapshots.add_receipt(version_id, key, CommitReceipt(request_hash, None, outcome), now)
    return made


def _repeated(
    tx: Transaction, target: ResolvedDataset, labels: Sequence[str], receipt: CommitReceipt
) -> list[Completion]:
    """Return what a call did when it was made first."""
    told = receipt.result
    if isinstance(told["completed"], str):  # as releases have noted it that knew one partition at a time
        return list(tx.completions.latest_of(target.version.id, labels).values())
    by, at = told["declared_by"], datetime.fromisoformat(told["declared_at"])
    return [
        Completion(target.version.id, label, told["completed"][label], told["sequence_number"], by, at)
        for label in labels
    ]


def _hash_of(labels: Sequence[str]) -> str:
    """Return what stands for partitions when a repetition is compared with the first time."""
    if len(labels) == 1:
        return f"complete {labels[0]}"
    return hashlib.sha256(orjson.dumps(["complete", *sorted(labels)])).hexdigest()


def _check_number(name: str, partitions: Sequence[str | date]) -> None:
    if not 1 <= len(partitions) <= MOST_AT_ONCE:
        raise InvalidInputError(
            f"{len(partitions):,} partitions of {name} cannot be declared complete at once.",
            hint=f"Name 1 to {MOST_AT_ONCE:,} of them in a call.",
        )
