"""Targets that point at the lake's own files: bringing their entries to the newest state, and proving them right.

What an entry names has to stay readable, however far a target is behind. So the lake holds the metadata file and the
snapshot before the entry is swapped, and lets go of the ones before only afterwards: whoever dies in between leaves
both, and the next delivery tidies up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cordillera.catalog.leases import fenced_write
from cordillera.catalog.tables import TableService, rows_in
from cordillera.errors import (
    CommitConflictError,
    CorruptDataError,
    TargetDriftError,
    TerminalError,
    TransientError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.pointing import Pointer, PointingTarget
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.held_file import HeldFile
from cordillera.spec.subscription import Subscription, Verification
from cordillera.spec.table_metadata import TableMetadata, metadata_number
from cordillera.subscriptions.following import Followed
from cordillera.subscriptions.wholeness import check_whole

_ATTEMPTS = 8
"""How often the newest state is looked up while writers commit."""


@dataclass(frozen=True, slots=True)
class Pointed:
    """What came of bringing an entry up.

    Attributes:
        newest: The state that it is of.
        changed: Whether it was not before.
    """

    newest: Followed
    changed: bool


class Pointing:
    """Keeps entries of targets pointing at datasets.

    Args:
        store: Keeps which files are held for them.
        tables: Knows the files.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, tables: TableService, clock: Clock) -> None:
        self._store, self._tables, self._clock = store, tables, clock

    def bring_up(self, followed: Followed, target: PointingTarget, check_wanted: Callable[[], None]) -> Pointed | None:
        """Let a target point at the dataset's newest state; at nothing, if the dataset is deleted.

        Args:
            followed: What the subscription follows, as shown to whoever asked for it.
            target: Where to.
            check_wanted: Raises what stops a delivery under way.

        Returns:
            What the entry is of by now, and whether it was changed; None if there is none any more.

        Raises:
            NotAllowedError: If the subscription is to a part of the dataset.
            TargetDriftError: If somebody else has pointed the entry elsewhere.
        """
        subscription = followed.subscription
        check_whole(subscription, narrowed=followed.rows is not None)
        if self._is_deleted(subscription):
            target.remove(subscription.id, subscription.target_table)
            return None
        with self._store.read() as tx:
            before = tx.pointers.of(subscription.id)
        newest, held = self._held(followed)
        try:
            check_wanted()
            changed = target.point(self._pointer(newest, held))
        except TerminalError:  # it points where it did; after other errors nobody knows
            self._keep(newest, subscription, before)
            raise
        self._keep(newest, subscription, [held])
        return Pointed(newest, changed)

    def compare(self, followed: Followed, target: PointingTarget) -> Verification:
        """Compare an entry with the state that it was brought to: the file it names, its columns, its snapshot.

        Raises:
            TargetDriftError: If there is no entry.
        """
        subscription = followed.subscription
        held = self._held_at(subscription, target)
        pointer = self._pointer(followed, held)
        differences = [*target.differences(pointer)]
        if held.sequence_number and not self._has_snapshot(followed.version, held.sequence_number):
            differences.append(f"its snapshot {held.sequence_number} has expired in the lake")
        rows = rows_in(pointer.metadata.current_snapshot)
        return Verification(
            subscription.id,
            held.sequence_number,
            equal=not differences,
            rows_lake=rows,
            rows_target=rows if not differences else self._rows_at(followed, target),
            checksum_lake="",
            checksum_target="",
            differences=tuple(differences),
        )

    def put_right(self, followed: Followed, target: PointingTarget) -> None:
        """Let an entry point again at the state that it was brought to, whoever has changed it.

        Raises:
            NotAllowedError: If the subscription is to a part of the dataset.
            TargetDriftError: If the table of that name is not the subscription's.
        """
        check_whole(followed.subscription, narrowed=followed.rows is not None)
        target.point(self._pointer(followed, self._newest_held(followed.subscription)), repair=True)

    def remove(self, subscription: Subscription, target: PointingTarget) -> None:
        """Remove the entry of a subscription that has ended, and let go of what it pointed at."""
        target.remove(subscription.id, subscription.target_table)
        with fenced_write(self._store, self._clock.now()) as tx:
            tx.pointers.release(subscription.id, [one.metadata_location for one in tx.pointers.of(subscription.id)])

    # --- what is held -----------------------------------------------------------------------------------------------

    def _held(self, followed: Followed) -> tuple[Followed, HeldFile]:
        """Hold the newest state of a dataset version, and return it.

        It is the newest still when it is held: from then on no commit lets it go.
        """
        version_id = followed.version.id
        for _ in range(_ATTEMPTS):
            with fenced_write(self._store, self._clock.now()) as tx:
                version = tx.dataset_versions.get(version_id)
                if version is None:
                    break
                held = HeldFile(
                    followed.subscription.id,
                    version_id,
                    version.metadata_location,
                    version.sequence_number,
                    self._clock.now(),
                )
                tx.pointers.hold(held)
            with self._store.read() as tx:
                now = tx.dataset_versions.get(version_id)
            if now is not None and now.metadata_location == held.metadata_location:
                return replace(followed, version=version, metadata=self._tables.load(version)), held
        raise CommitConflictError(
            f"{followed.subscription.dataset} changes faster than a target can be told.",
            hint="The delivery is repeated.",
        )

    def _keep(self, newest: Followed, subscription: Subscription, kept: Sequence[HeldFile]) -> None:
        """Let go of what an entry does not name, and remove files that were kept for nothing else."""
        places = {one.metadata_location for one in kept}
        with fenced_write(self._store, self._clock.now()) as tx:
            held = [one.metadata_location for one in tx.pointers.of(subscription.id)]
            gone = [location for location in held if location not in places]
            if not gone:
                return
            tx.pointers.release(subscription.id, gone)
            needed = {one.metadata_location for one in tx.pointers.held(newest.version.id)}
        needed |= {str(entry["metadata-file"]) for entry in newest.metadata.metadata_log}
        needed.add(newest.version.metadata_location)
        for location in gone:
            if location not in needed:
                self._tables.forget_metadata(location)

    def _newest_held(self, subscription: Subscription) -> HeldFile:
        with self._store.read() as tx:
            held = tx.pointers.of(subscription.id)
        if not held:
            raise TargetDriftError(
                f"The target {subscription.target} has had no delivery for {subscription.dataset}.",
                hint="Start a worker, and look at the subscription's last error.",
            )
        return held[-1]

    def _held_at(self, subscription: Subscription, target: PointingTarget) -> HeldFile:
        """Return the state that a target should point at: of two, while it moves on, the one that it does point at."""
        newest = self._newest_held(subscription)
        at = target.points_at(subscription.id, subscription.target_table)
        with self._store.read() as tx:
            held = tx.pointers.of(subscription.id)
        return next((one for one in held if one.metadata_location == at), newest)

    # --- states -----------------------------------------------------------------------------------------------------

    def _pointer(self, followed: Followed, held: HeldFile) -> Pointer:
        subscription = followed.subscription
        with self._store.read() as tx:
            dataset = tx.datasets.get_by_id(subscription.dataset_id)
        return Pointer(
            subscription.id,
            subscription.target_table,
            held.metadata_location,
            self._metadata(followed.version, held.metadata_location),
            metadata_number(held.metadata_location),
            followed.origin,
            dataset.description if dataset else "",
        )

    def _metadata(self, version: DatasetVersion, location: str) -> TableMetadata:
        return self._tables.load(replace(version, metadata_location=location))

    def _is_deleted(self, subscription: Subscription) -> bool:
        with self._store.read() as tx:
            dataset = tx.datasets.get_by_id(subscription.dataset_id)
        return dataset is None or dataset.deleted_at is not None

    def _has_snapshot(self, version: DatasetVersion, sequence: int) -> bool:
        return self._tables.load(version).snapshot_by_sequence(sequence) is not None

    def _rows_at(self, followed: Followed, target: PointingTarget) -> int:
        """Return the rows of whatever an entry names; 0 where that is no file of the dataset that can be read."""
        version, subscription = followed.version, followed.subscription
        at = target.points_at(subscription.id, subscription.target_table) or ""
        if not at.startswith(f"{version.location}/"):
            return 0
        try:
            return rows_in(self._metadata(version, at).current_snapshot)
        except (CorruptDataError, TransientError):
            return 0
