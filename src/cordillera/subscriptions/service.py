"""Targets and subscriptions: asking for them, and seeing how far they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import (
    AccessDeniedError,
    InvalidConfigurationError,
    InvalidInputError,
    MissingExtraError,
    NotAllowedError,
    UnknownColumnError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.pointing import AnyTarget, ExternalSchemaTarget, PointingTarget
from cordillera.ports.synchronizer import Capabilities
from cordillera.spec.access import Privilege
from cordillera.spec.access_request import AccessRequest
from cordillera.spec.delivery_trigger import checked_trigger
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.external_schema import ExternalSchema
from cordillera.spec.names import check_name
from cordillera.spec.residency import names_had
from cordillera.spec.skip import AHEAD, SkipState
from cordillera.spec.subscription import (
    Subscription,
    SubscriptionMode,
    SubscriptionState,
    SubscriptionStatus,
    Target,
    check_verification_interval,
    check_verified,
    expiry,
    parse_copy_at_end,
    parse_mode,
)
from cordillera.spec.texts import check_texts
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.subscriptions.lifecycle import check_following
from cordillera.subscriptions.moves import begin, move, tell
from cordillera.subscriptions.residency import ResidencyRules
from cordillera.subscriptions.telling import Told
from cordillera.subscriptions.wholeness import check_whole

SynchronizerFactory = Callable[[str, Mapping[str, str]], AnyTarget]
"""Builds what drives a target of a kind from a target's configuration, checking the configuration."""


class AskToRead(Protocol):
    """Asks for access to read a dataset, in the transaction of what waits for it."""

    def __call__(self, tx: Transaction, dataset: str, *, purpose: str, days: int | None) -> AccessRequest:
        """Return the request: one that is open already serves for it too."""


class SubscriptionService:
    """Manages targets and subscriptions.

    Args:
        store: Keeps them.
        lookup: Knows who may see and do what.
        catalog: Resolves datasets.
        tables: Knows their columns.
        synchronizers: Builds synchronizers.
        ask_to_read: Asks for access; ``AccessRequestService.ask_to_read``.
        clock: Time and ids.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        catalog: CatalogService,
        tables: TableService,
        synchronizers: SynchronizerFactory,
        ask_to_read: AskToRead,
        clock: Clock,
    ) -> None:
        self._store, self._lookup, self._catalog, self._tables = store, lookup, catalog, tables
        self._synchronizers, self._ask_to_read, self._clock = synchronizers, ask_to_read, clock
        self._residency = ResidencyRules(store, clock)

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

    def external_schema(self, name: str, wanted: ExternalSchema) -> tuple[str, ...]:
        """Return the statements by which a warehouse reads the tables that a target points at; none is executed.

        Raises:
            NotAllowedError: If no warehouse reads what the target keeps by an external schema.
            InvalidNameError, InvalidInputError: If a name or the IAM role cannot be.
        """
        with self._store.read() as tx:
            target = self._lookup.target(tx, name)
        driver = self._synchronizers(target.kind, target.config)
        try:
            if isinstance(driver, ExternalSchemaTarget):
                return driver.external_schema(wanted)
        finally:
            driver.close()
        raise NotAllowedError(
            f"Warehouses have no external schemas of the {target.kind} target {name}.",
            hint="Use a glue target for Redshift, or a snowflake_iceberg target.",
        )

    def delete_target(self, name: str) -> None:
        """Remove a target that no subscription uses any more."""
        with self._store.write() as tx:
            self._lookup.target(tx, name, Privilege.ADMINISTER)
            tx.targets.delete(name)
            Trail(tx, self._clock.now()).audit("target.delete", "target", name, {})

    # --- subscriptions -------------------------------------------------------------------------------------------

    def subscribe(self, wanted: WantedSubscription) -> Subscription:
        """Ask for a target to be kept like a dataset. The first delivery follows as soon as a worker is free.

        Who may not read the dataset, and says what for he wants to, asks for that too: the subscription waits until
        his access request is decided.

        Raises:
            InvalidInputError: If something is not as it can be.
            AlreadyExistsError: If the target's table belongs to another subscription.
            UnknownColumnError, InvalidExpressionError: If columns or filter do not fit the dataset.
            AccessDeniedError: If whoever acts may not read the dataset and says no purpose, or not write to the target;
                or not use the dataset's files, at which the target points.
            NotAllowedError: If the target cannot keep a log or a history, or a log is to be verified; if it points at
                the lake's files and cannot, or may not, show them all; if the dataset's policy tag ``residency`` does
                not allow for the target.
        """
        check_texts(
            "subscription to", wanted.dataset,
            consumer=wanted.consumer, purpose=wanted.purpose, cost_owner=wanted.cost_owner,
        )  # fmt: skip
        check_verification_interval(wanted.verify_every_seconds)
        found, asks = self._to_follow(wanted.dataset, wanted.purpose)
        self._check_wishes(found, wanted.columns, wanted.row_filter)
        with self._store.read() as tx:
            self._residency.check(tx, found.dataset, wanted.target, lambda: self._delivered(found, wanted.columns))
        now = self._clock.now()
        subscription = self._requested(wanted, found, now)
        with self._store.write() as tx:
            self._check_keeps(tx, self._lookup.target(tx, wanted.target, Privilege.WRITE), subscription, found)
            if asks:
                asked = self._ask_to_read(tx, subscription.dataset, purpose=wanted.purpose, days=wanted.days)
                subscription = replace(subscription, request_id=asked.id)
            tx.subscriptions.insert(subscription)
            why = f"for {wanted.purpose}" if wanted.purpose else ""
            tx.subscriptions.note_change(subscription.id, subscription.state, subscription.created_by, now, why)
            tell(tx, subscription, now, "subscribe")
            if not asks:
                reason = "whoever asked may read the dataset"
                subscription = move(tx, subscription, SubscriptionState.APPROVED, now, action="approve", reason=reason)
                begin(tx, subscription, self._clock)
        return subscription

    def subscription(self, subscription_id: UUID) -> Subscription:
        """Return a subscription by id, or raise ``SubscriptionNotFoundError``."""
        with self._store.read() as tx:
            return Told(tx, self._lookup).of(self._lookup.subscription(tx, subscription_id))

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

        Whoever asks gets those that he may discover: his own, those of datasets that he administers, and those that he
        was granted it on.
        """
        dataset_id = self._catalog.dataset(dataset, Privilege.DISCOVER).dataset.id if dataset else None
        wanted = _state(state) if state else None
        with self._store.read() as tx:
            viewer = self._lookup.viewer(tx)
            found = tx.subscriptions.page(
                dataset_id=dataset_id, target=target, state=wanted, after=after, limit=limit, viewer=viewer
            )
            return [_status(tx, subscription) for subscription in Told(tx, self._lookup).each(found)]

    def status(self, subscription_id: UUID) -> SubscriptionStatus:
        """Return a subscription with its distance from the dataset."""
        with self._store.read() as tx:
            return _status(tx, Told(tx, self._lookup).of(self._lookup.subscription(tx, subscription_id)))

    def check_repairable(self, subscription_id: UUID) -> None:
        """Make sure that whoever acts may have rows delivered again.

        Raises:
            SubscriptionNotFoundError: If there is no such subscription.
            AccessDeniedError: If he may not alter it, not read the dataset, or not write to the target.
        """
        with self._store.read() as tx:
            found = self._lookup.subscription(tx, subscription_id, Privilege.ALTER)
            check_following(tx, self._lookup, found)
            self._check_told(tx, found)

    def check_verifiable(self, subscription_id: UUID) -> None:
        """Make sure that whoever acts may be told how a target and the rows it should have differ.

        Raises:
            SubscriptionNotFoundError: If there is no such subscription.
            AccessDeniedError: If he may not alter it, or not read the dataset.
        """
        with self._store.read() as tx:
            self._check_told(tx, self._lookup.subscription(tx, subscription_id, Privilege.ALTER))

    def check_possible(self, found: ResolvedDataset, subscription: Subscription) -> None:
        """Make sure that what a subscription is to can be delivered to its target: columns, rows, mode, residency.

        Raises:
            UnknownColumnError, InvalidExpressionError, AccessDeniedError, NotAllowedError: As for ``subscribe``.
        """
        self._check_wishes(found, subscription.columns, subscription.row_filter)
        with self._store.read() as tx:
            self._residency.check(
                tx, found.dataset, subscription.target, lambda: self._delivered(found, subscription.columns)
            )
        with self._store.read() as tx:
            target = self._lookup.target(tx, subscription.target, Privilege.WRITE)
            self._check_keeps(tx, target, subscription, found)

    # --- helpers -------------------------------------------------------------------------------------------------

    def _to_follow(self, dataset: str, purpose: str) -> tuple[ResolvedDataset, bool]:
        """Return the dataset, and whether whoever acts has to ask before he may read it."""
        try:
            return self._catalog.readable(dataset), False
        except AccessDeniedError as error:
            if not purpose.strip():
                raise AccessDeniedError(
                    error.message,
                    hint="Subscribe with a purpose, and the access is asked for as well.",
                    details=error.details,
                ) from None
            return self._catalog.dataset(dataset, Privilege.DISCOVER), True

    def _check_keeps(self, tx: Transaction, target: Target, subscription: Subscription, found: ResolvedDataset) -> None:
        """Make sure that a target can keep what is asked for; it is not connected to."""
        mirrors = subscription.mode is SubscriptionMode.MIRROR
        try:
            driver = self._synchronizers(target.kind, target.config)
        except (InvalidConfigurationError, MissingExtraError):
            if not mirrors:
                raise
            return  # what it takes may be where deliveries are made, and nowhere else: those look at it again
        try:
            if isinstance(driver, PointingTarget):
                check_whole(subscription, narrowed=found.rows is not None)
                self._lookup.require(tx, found.dataset, Privilege.EXTERNAL_USE, version=found.version)
                schema = self._tables.load(found.version).schema
                driver.check_pointable(subscription.target_table, found.version.location, schema)
            else:
                check_mode(subscription, driver.capabilities)
        finally:
            driver.close()

    def _check_told(self, tx: Transaction, subscription: Subscription) -> None:
        """Make sure that whoever acts may be told of the rows that a target should have, which another may have asked
        for and who asks may not see."""
        found = tx.datasets.get_by_id(subscription.dataset_id)
        if found is None:
            return
        version = tx.dataset_versions.get(subscription.dataset_version_id)
        narrowed = self._lookup.rows(tx, found, version) is not None
        if narrowed and subscription.on_behalf_of != current().principal:
            self._lookup.require(tx, found, Privilege.READ, version=version)

    def _delivered(self, found: ResolvedDataset, columns: Sequence[str]) -> dict[str, frozenset[str]]:
        """Return the columns that a subscription brings, with none named all, and what they have ever been called."""
        metadata = self._tables.load(found.version)
        named = {*columns, *found.version.key} if columns else set(metadata.schema.column_names)
        return names_had(named, metadata.schema, metadata.schemas)

    def _requested(self, wanted: WantedSubscription, found: ResolvedDataset, now: datetime) -> Subscription:
        fate, mode = parse_copy_at_end(wanted.copy_at_end), parse_mode(wanted.mode)
        if wanted.verify_every_seconds is not None:
            check_verified(mode)
        return Subscription(
            id=self._clock.new_id(), dataset_id=found.dataset.id, dataset=found.dataset.full_name,
            dataset_version_id=found.version.id, consumer=wanted.consumer or current().principal,
            purpose=wanted.purpose, columns=wanted.columns, row_filter=wanted.row_filter, target=wanted.target,
            target_table=wanted.table or found.dataset.name, state=SubscriptionState.REQUESTED, cursor_sequence=None,
            cursor_schema_id=None, rows_delivered=0, delivered_at=None, last_error="", created_at=now,
            created_by=current().principal, on_behalf_of=current().authority,
            verify_every_seconds=wanted.verify_every_seconds, cost_owner=wanted.cost_owner,
            expires_at=expiry(wanted.days, now), copy_at_end=fate, mode=mode,
            trigger=checked_trigger(wanted.trigger),
        )  # fmt: skip

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


def check_mode(subscription: Subscription, able: Capabilities) -> None:
    """Make sure that a target can keep what a subscription's mode asks for.

    Raises:
        NotAllowedError: If it cannot.
    """
    keeps = {
        SubscriptionMode.MIRROR: True,
        SubscriptionMode.LOG: able.merges,
        SubscriptionMode.HISTORY: able.history,
    }
    if not keeps[subscription.mode]:
        why = "keeps no time for which rows held" if able.merges else "takes whole contents only"
        raise NotAllowedError(
            f"The target {subscription.target} {why}, and cannot keep a {subscription.mode} of changes.",
            hint="Use a target that takes single rows, such as PostgreSQL or DuckDB.",
        )


def _status(tx: Transaction, subscription: Subscription) -> SubscriptionStatus:
    version = tx.dataset_versions.get(subscription.dataset_version_id)
    latest = version.sequence_number if version else 0
    missed = tx.snapshots.following(subscription.dataset_version_id, subscription.cursor_sequence or 0)
    skips = tx.subscriptions.skips(subscription.id, *AHEAD, SkipState.SKIPPED)
    return SubscriptionStatus(subscription, latest, missed.committed_at if missed else None, tuple(skips))


def _state(text: str) -> SubscriptionState:
    try:
        return SubscriptionState(text)
    except ValueError:
        raise InvalidInputError(
            f"There is no subscription state {text[:40]!r}.", hint=f"Use one of: {', '.join(SubscriptionState)}."
        ) from None
