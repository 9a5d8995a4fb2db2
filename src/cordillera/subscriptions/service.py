"""Targets and subscriptions: asking for them, changing their state, seeing how far they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import (
    InvalidInputError,
    SubscriptionNotFoundError,
    UnknownColumnError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.synchronizer import Synchronizer
from cordillera.spec.access import Privilege
from cordillera.spec.event import Topic
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.lineage import Edge, Node, NodeKind
from cordillera.spec.names import check_name
from cordillera.spec.subscription import (
    Subscription,
    SubscriptionState,
    SubscriptionStatus,
    Target,
    check_transition,
    check_verification_interval,
)
from cordillera.spec.texts import check_texts
from cordillera.spec.told_errors import told_error
from cordillera.subscriptions.handlers import WITHDRAW, enqueue_delivery, enqueue_verification

SynchronizerFactory = Callable[[str, Mapping[str, str]], Synchronizer]
"""Builds the synchronizer of a kind from a target's configuration, checking the configuration."""


class SubscriptionService:
    """Manages targets and subscriptions.

    Args:
        store: Keeps them.
        lookup: Knows who may see and do what.
        catalog: Resolves datasets.
        tables: Knows their columns.
        synchronizers: Builds synchronizers.
        clock: Time and ids.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        catalog: CatalogService,
        tables: TableService,
        synchronizers: SynchronizerFactory,
        clock: Clock,
    ) -> None:
        self._store, self._lookup, self._catalog, self._tables = store, lookup, catalog, tables
        self._synchronizers, self._clock = synchronizers, clock

    # --- targets -------------------------------------------------------------------------------------------------

    def create_target(self, name: str, kind: str, config: Mapping[str, str], *, check: bool = True) -> Target:
        """Configure a target.

        Args:
            name: What to call it.
            kind: The synchronizer that drives it.
            config: Its settings, without secrets: those stay in environment variables that the settings name.
            check: Connect to it first.

        Raises:
            InvalidConfigurationError: If the kind is unknown or a setting is missing, unknown or wrong.
            TargetUnreachableError: If it cannot be reached.
            AccessDeniedError: If whoever acts does not administer the lake.
        """
        check_name(name, "target")
        with self._store.read() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
        synchronizer = self._synchronizers(kind, config)
        try:
            if check:
                synchronizer.check()
        finally:
            synchronizer.close()
        target = Target(self._clock.new_id(), name, kind, dict(config), current().principal, self._clock.now())
        with self._store.write() as tx:
            tx.targets.insert(target)
            Trail(tx, target.created_at).audit("target.create", "target", name, {"kind": kind})
        return target

    def target(self, name: str) -> Target:
        """Return a target by name, or raise ``TargetNotFoundError``."""
        with self._store.read() as tx:
            return self._lookup.target(tx, name)

    def targets(self, after: str = "", limit: int = 100) -> list[Target]:
        """Return a page of targets by name."""
        with self._store.read() as tx:
            return tx.targets.page(after, limit, viewer=self._lookup.viewer(tx))

    def check_target(self, name: str) -> None:
        """Connect to a target and make sure that tables could be written, changing nothing."""
        with self._store.read() as tx:
            target = self._lookup.target(tx, name, Privilege.WRITE)
        synchronizer = self._synchronizers(target.kind, target.config)
        try:
            synchronizer.check()
        finally:
            synchronizer.close()

    def delete_target(self, name: str) -> None:
        """Remove a target that no subscription uses any more."""
        with self._store.write() as tx:
            self._lookup.target(tx, name, Privilege.ADMINISTER)
            tx.targets.delete(name)
            Trail(tx, self._clock.now()).audit("target.delete", "target", name, {})

    # --- subscriptions -------------------------------------------------------------------------------------------

    def subscribe(
        self,
        dataset: str,
        target: str,
        *,
        table: str = "",
        consumer: str = "",
        purpose: str = "",
        columns: Sequence[str] = (),
        row_filter: str = "",
        verify_every_seconds: int | None = None,
    ) -> Subscription:
        """Ask for a target to be kept like a dataset. The first delivery follows as soon as a worker is free.

        Args:
            dataset: The dataset; its active dataset version is followed.
            target: The target's name.
            table: The table's name there; the dataset's name by default.
            consumer: Who asks; the caller by default.
            purpose: What for.
            columns: Columns wanted; none means all, also those added later. Key columns always come along.
            row_filter: SQL condition on the rows wanted.
            verify_every_seconds: How often the target is compared with the lake, besides after whole deliveries.

        Raises:
            InvalidInputError: If that is too often to be of use.
            AlreadyExistsError: If the target's table belongs to another subscription.
            UnknownColumnError, InvalidExpressionError: If columns or filter do not fit the dataset.
            AccessDeniedError: If whoever acts may not read the dataset, or not write to the target.
        """
        check_texts("subscription to", dataset, consumer=consumer, purpose=purpose)
        check_verification_interval(verify_every_seconds)
        found = self._catalog.readable(dataset)
        self._check_wishes(found, columns, row_filter)
        now = self._clock.now()
        subscription = Subscription(
            id=self._clock.new_id(),
            dataset_id=found.dataset.id,
            dataset=found.dataset.full_name,
            dataset_version_id=found.version.id,
            consumer=consumer or current().principal,
            purpose=purpose,
            columns=tuple(columns),
            row_filter=row_filter,
            target=target,
            target_table=table or found.dataset.name,
            state=SubscriptionState.PROVISIONING,
            cursor_sequence=None,
            cursor_schema_id=None,
            rows_delivered=0,
            delivered_at=None,
            last_error="",
            created_at=now,
            created_by=current().principal,
            on_behalf_of=current().authority,
            verify_every_seconds=verify_every_seconds,
        )
        with self._store.write() as tx:
            self._lookup.target(tx, target, Privilege.WRITE)
            tx.subscriptions.insert(subscription)
            flows = Edge(
                Node(NodeKind.DATASET, subscription.dataset),
                Node(NodeKind.TARGET, f"{target}:{subscription.target_table}"),
                tuple((name, (name,)) for name in columns),
            )
            tx.lineage.put([flows], now)
            enqueue_delivery(tx, subscription, self._clock)
            if verify_every_seconds is not None:
                enqueue_verification(tx, subscription, self._clock, verify_every_seconds)
            self._changed(tx, subscription, "subscribe")
        return subscription

    def subscription(self, subscription_id: UUID) -> Subscription:
        """Return a subscription by id, or raise ``SubscriptionNotFoundError``."""
        with self._store.read() as tx:
            return _Told(tx, self._lookup).of(self._existing(tx, subscription_id))

    def subscriptions(
        self,
        *,
        dataset: str | None = None,
        target: str | None = None,
        state: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[SubscriptionStatus]:
        """Return a page of subscriptions with their distance from the datasets.

        Whoever asks gets those that are his, and those of datasets that he administers.
        """
        dataset_id = self._catalog.dataset(dataset, Privilege.DISCOVER).dataset.id if dataset else None
        wanted = _state(state) if state else None
        with self._store.read() as tx:
            viewer = self._lookup.viewer(tx)
            found = tx.subscriptions.page(
                dataset_id=dataset_id, target=target, state=wanted, after=after, limit=limit, viewer=viewer
            )
            told = _Told(tx, self._lookup)
            return [_status(tx, told.of(subscription)) for subscription in found]

    def status(self, subscription_id: UUID) -> SubscriptionStatus:
        """Return a subscription with its distance from the dataset."""
        with self._store.read() as tx:
            return _status(tx, _Told(tx, self._lookup).of(self._existing(tx, subscription_id)))

    def pause(self, subscription_id: UUID) -> Subscription:
        """Stop deliveries; the cursor stays where it is."""
        return self._set_state(subscription_id, SubscriptionState.PAUSED, "pause")

    def resume(self, subscription_id: UUID) -> Subscription:
        """Deliver again, beginning with everything missed, and from now on behalf of whoever acts.

        Raises:
            AccessDeniedError: If he may not read the dataset, or not write to the target.
        """
        with self._store.write() as tx:
            found = self._existing(tx, subscription_id)
            self._check_following(tx, found)
            tx.subscriptions.entrust(subscription_id, current().authority)
            delivered = found.cursor_sequence is not None
        wanted = SubscriptionState.LIVE if delivered else SubscriptionState.PROVISIONING
        return self._set_state(subscription_id, wanted, "resume")

    def revoke(self, subscription_id: UUID, *, keep_rows: bool = True) -> Subscription:
        """End a subscription for good. Its table in the target stays as it is unless ``keep_rows`` is false.

        Raises:
            AccessDeniedError: If rows are to go, and whoever acts may not write to the target.
        """
        if not keep_rows:
            with self._store.read() as tx:
                self._lookup.target(tx, self._existing(tx, subscription_id).target, Privilege.WRITE)
        ended = self._set_state(subscription_id, SubscriptionState.REVOKED, "revoke")
        with self._store.write() as tx:
            tx.tasks.enqueue(
                self._clock.new_id(),
                WITHDRAW,
                str(subscription_id),
                {"subscription_id": str(subscription_id), "keep_rows": keep_rows},
                now=self._clock.now(),
                trace_id=current().trace_id,
            )
            tx.lineage.remove(Node(NodeKind.TARGET, f"{ended.target}:{ended.target_table}"))
        return ended

    def schedule_verification(self, subscription_id: UUID, every_seconds: int | None) -> Subscription:
        """Say how often a subscription's target is compared with the lake; None for not by itself.

        Raises:
            InvalidInputError: If it is too often to be of use.
            AccessDeniedError: If whoever acts may not read the dataset, or not write to the target.
        """
        check_verification_interval(every_seconds)
        with self._store.write() as tx:
            found = self._existing(tx, subscription_id)
            self._check_following(tx, found)
            changed = replace(found, verify_every_seconds=every_seconds)
            tx.subscriptions.set_verification_interval(subscription_id, every_seconds)
            if every_seconds is not None:
                enqueue_verification(tx, changed, self._clock, every_seconds)
            self._changed(tx, changed, "schedule_verification")
            return _Told(tx, self._lookup).of(changed)

    def check_repairable(self, subscription_id: UUID) -> None:
        """Make sure that whoever acts may have rows delivered again.

        Raises:
            SubscriptionNotFoundError: If there is no such subscription.
            AccessDeniedError: If he may not read the dataset, or not write to the target.
        """
        with self._store.read() as tx:
            found = self._existing(tx, subscription_id)
            self._check_following(tx, found)
            self._check_told(tx, found)

    def check_verifiable(self, subscription_id: UUID) -> None:
        """Make sure that whoever acts may be told how a target and the rows it should have differ.

        Raises:
            SubscriptionNotFoundError: If there is no such subscription.
            AccessDeniedError: If he may not read the dataset.
        """
        with self._store.read() as tx:
            self._check_told(tx, self._existing(tx, subscription_id))

    # --- helpers -------------------------------------------------------------------------------------------------

    def _existing(self, tx: Transaction, subscription_id: UUID) -> Subscription:
        found = tx.subscriptions.get(subscription_id, viewer=self._lookup.viewer(tx))
        if found is None:
            raise SubscriptionNotFoundError(
                f"There is no subscription {subscription_id}.", hint="List them with: cordillera subscription list."
            )
        return found

    def _check_following(self, tx: Transaction, subscription: Subscription) -> None:
        dataset = tx.datasets.get_by_id(subscription.dataset_id)
        if dataset is not None:
            self._lookup.rows(tx, dataset)
        self._lookup.target(tx, subscription.target, Privilege.WRITE)

    def _check_told(self, tx: Transaction, subscription: Subscription) -> None:
        """Make sure that whoever acts may be told of the rows that a target should have, which another may have asked
        for and who asks may not see."""
        found = tx.datasets.get_by_id(subscription.dataset_id)
        if found is None:
            return
        narrowed = self._lookup.rows(tx, found) is not None
        if narrowed and subscription.on_behalf_of != current().principal:
            self._lookup.require(tx, found, Privilege.READ)

    def _set_state(self, subscription_id: UUID, wanted: SubscriptionState, action: str) -> Subscription:
        with self._store.write() as tx:
            found = self._existing(tx, subscription_id)
            check_transition(found, wanted)
            tx.subscriptions.set_state(subscription_id, wanted, "", self._clock.now())
            changed = replace(found, state=wanted, last_error="", error_code="")
            enqueue_delivery(tx, changed, self._clock)
            self._changed(tx, changed, action)
        return changed

    def _check_wishes(self, found: ResolvedDataset, columns: Sequence[str], row_filter: str) -> None:
        schema = self._tables.load(found.version).schema
        if found.rows is not None:
            view = self._tables.view(found.version, found.rows, schema)
            view.check_clear(found.name, found.version.key)
            schema = view.schema
        names = [field.name for field in schema.fields]
        unknown = [name for name in columns if name not in names]
        if unknown:
            raise UnknownColumnError(
                f"{found.name} has no column {', '.join(map(repr, unknown))}.", hint=f"Columns: {', '.join(names)}."
            )
        if row_filter:
            parse_row_filter(row_filter, schema)

    def _changed(self, tx: Transaction, subscription: Subscription, action: str) -> None:
        trail = Trail(tx, self._clock.now())
        payload = {"subscription_id": str(subscription.id), "state": subscription.state}
        trail.event(Topic.SUBSCRIPTION_CHANGED, subscription.dataset, subscription.dataset_version_id, payload)
        details = {"dataset": subscription.dataset, "target": subscription.target, "state": subscription.state}
        trail.audit(f"subscription.{action}", "subscription", str(subscription.id), details)


class _Told:
    """Subscriptions as whoever acts may be told of them: errors that can quote rows only if he may read them all."""

    def __init__(self, tx: Transaction, lookup: Lookup) -> None:
        self._tx, self._lookup = tx, lookup
        self._whole: dict[UUID, bool] = {}

    def of(self, subscription: Subscription) -> Subscription:
        """Return a subscription with what may be told of its last error."""
        if not subscription.last_error:
            return subscription
        whole = self._reads_all(subscription.dataset_id)
        told = told_error(subscription.last_error, subscription.error_code, reads_all=whole, what=subscription.dataset)
        return replace(subscription, last_error=told)

    def _reads_all(self, dataset_id: UUID) -> bool:
        if dataset_id not in self._whole:
            dataset = self._tx.datasets.get_by_id(dataset_id)
            self._whole[dataset_id] = self._lookup.reads_all(self._tx, dataset)
        return self._whole[dataset_id]


def _status(tx: Transaction, subscription: Subscription) -> SubscriptionStatus:
    version = tx.dataset_versions.get(subscription.dataset_version_id)
    latest = version.sequence_number if version else 0
    missed = tx.snapshots.following(subscription.dataset_version_id, subscription.cursor_sequence or 0)
    return SubscriptionStatus(subscription, latest, missed.committed_at if missed else None)


def _state(text: str) -> SubscriptionState:
    try:
        return SubscriptionState(text)
    except ValueError:
        raise InvalidInputError(
            f"There is no subscription state {text[:40]!r}.", hint=f"Use one of: {', '.join(SubscriptionState)}."
        ) from None
