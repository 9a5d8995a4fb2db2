"""Transactions: writes to several datasets, committed together with one message, or none of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from cordillera.catalog.candidates import is_kept
from cordillera.catalog.commits import REFUSALS, CommitService
from cordillera.catalog.pending import PendingWrite
from cordillera.catalog.requests import CommitRequest, CommitResult, DatasetWrite, TransactionMark
from cordillera.catalog.staging import Digest, RequestedWrite, StagingService
from cordillera.errors import InvalidInputError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore


class TransactionService:
    """Commits writes to several datasets together.

    Args:
        store: The metadata store.
        staging: Prepares the reading of rows.
        commits: Makes writes visible.
        clock: Ids.
    """

    def __init__(self, store: MetadataStore, staging: StagingService, commits: CommitService, clock: Clock) -> None:
        self._store, self._staging, self._commits, self._clock = store, staging, commits, clock

    def commit(
        self, writes: Sequence[DatasetWrite], *, message: str = "", idempotency_key: str | None = None
    ) -> list[CommitResult]:
        """Write to several datasets; all of it becomes visible in one moment, or nothing.

        Args:
            writes: At most one to a dataset version. Their rows are read one after the other.
            message: What the transaction is about; snapshots, events and the audit log say it.
            idempotency_key: Repeating the transaction under the same key has no further effect.

        Returns:
            What came of each write, in their order.

        Raises:
            CordilleraError: As for a single write, for any of them. Nothing is visible then.
        """
        if not writes:
            raise InvalidInputError("The transaction has no writes.", hint="Give at least one.")
        requested = [self._staging.request(write) for write in writes]
        _check_distinct(requested)
        request = CommitRequest(
            idempotency_key=idempotency_key,
            transaction=TransactionMark(
                self._clock.new_id(), message, tuple(sorted(write.target.name for write in requested))
            ),
        )
        digests = [write.digest() for write in requested]
        replayed = self._replayed(requested, request, digests)
        return replayed or self._commit(self._staged(requested, request, digests))

    def _replayed(
        self, requested: Sequence[RequestedWrite], request: CommitRequest, digests: Sequence[Digest]
    ) -> list[CommitResult]:
        """Return what the same transaction did before. Its rows are read to make sure that they are the same."""
        if request.idempotency_key is None:
            return []
        with self._store.read() as tx:
            if not any(self._commits.replay(tx, write.target.version, request) for write in requested):
                return []
        for write, digest in zip(requested, digests, strict=True):
            for _ in digest.watch(write.conformed()):
                pass
        request = replace(request, request_hash=_hash_of(requested, digests))
        with self._store.read() as tx:
            return self._commits.replay_all(tx, [(write.target.version, request) for write in requested])

    def _staged(
        self, requested: Sequence[RequestedWrite], request: CommitRequest, digests: Sequence[Digest]
    ) -> list[PendingWrite]:
        """Read the rows of all writes. If one cannot be used, nothing remains of the others."""
        keyed = request.idempotency_key is not None
        found: list[PendingWrite] = []
        with ExitStack() as undo:
            for write, digest in zip(requested, digests, strict=True):
                staged = write.stage(digest.watch if keyed else iter)
                found.append(write.pending(staged, request))
                undo.callback(found[-1].discard)
            undo.pop_all()
        for pending, write in zip(found, requested, strict=True):
            pending.request = replace(
                request,
                request_hash=_hash_of(requested, digests) if keyed else "",
                completes=write.asked.completes,
                branch=write.asked.branch,
            )
        return found

    def _commit(self, writes: Sequence[PendingWrite]) -> list[CommitResult]:
        """Prepare and commit all writes, again and again while other writers are faster."""
        try:
            with self._commits.attempts(*(write.target.version.id for write in writes)) as attempts:
                for attempt in attempts:
                    with attempt:
                        results = self._attempt(writes, first=attempt.num == 1)
        except REFUSALS as error:  # not after other errors: what may have been committed is never removed
            with ExitStack() as undo:
                for write in writes:
                    if not is_kept(error, write.target):
                        undo.callback(write.discard)
            raise
        return results

    def _attempt(self, writes: Sequence[PendingWrite], *, first: bool) -> list[CommitResult]:
        parts = []
        for write in writes:
            if not first:
                write.target = self._staging.current(write.target)
            parts.append((write.target, write.prepare(self._staging.view(write.target, write.request.branch))))
        return self._commits.commit_all(parts)


def _hash_of(requested: Sequence[RequestedWrite], digests: Sequence[Digest]) -> str:
    """Return what stands for the whole transaction when a repetition is compared with the first time."""
    parts = [
        f"{write.target.version.id} {write.asked.completes or ''} {digest.hexdigest()}"
        for write, digest in zip(requested, digests, strict=True)
    ]
    return hashlib.sha256("\n".join(["transaction", *sorted(parts)]).encode()).hexdigest()


def _check_distinct(requested: Sequence[RequestedWrite]) -> None:
    seen = set()
    for write in requested:
        if write.target.version.id in seen:
            raise InvalidInputError(
                f"The transaction writes to {write.target.name} twice.",
                hint="Put the rows for a dataset into one write, or make a second transaction.",
            )
        seen.add(write.target.version.id)
