"""Destinations: making them, looking how they do, and what to do when they fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from cordillera.catalog.lake_keys import lake_key
from cordillera.catalog.lookup import Lookup
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.destinations.delivery import EventDeliveryService
from cordillera.destinations.handlers import enqueue_sending
from cordillera.errors import DestinationNotFoundError, InvalidInputError, NotAllowedError
from cordillera.ports.clock import Clock
from cordillera.ports.event_sender import EventSender
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.destination import (
    DeliveryState,
    Destination,
    DestinationKind,
    DestinationState,
    DestinationStatus,
    EventDelivery,
    revived,
    secret_text,
    webhook_secret,
)
from cordillera.spec.event_filter import event_filter
from cordillera.spec.lake_key import KeyPurpose
from cordillera.spec.texts import check_texts

E = TypeVar("E", bound=StrEnum)

_MOST_DESTINATIONS = 50
_MOST_REPLAYED = 1_000
_MOST_KEEP_HOURS = 24 * 30


@dataclass(frozen=True, slots=True)
class NewDestination:
    """A destination; with its secret, which is shown this once, if it is a webhook."""

    destination: Destination
    secret: str | None

    def __repr__(self) -> str:
        return f"NewDestination({self.destination.id!r}, secret=…)"


class DestinationService:
    """Manages destinations: each principal his own, whoever administers the lake all.

    Args:
        store: Keeps them.
        lookup: Knows who may see and do what.
        sender: Knows what may be sent to.
        deliveries: Sends tests.
        clock: Time and ids.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        sender: EventSender,
        deliveries: EventDeliveryService,
        clock: Clock,
    ) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock
        self._sender, self._deliveries = sender, deliveries

    def create(
        self,
        kind: str,
        config: Mapping[str, str],
        *,
        topics: Sequence[str] = (),
        within: Sequence[str] = (),
        description: str = "",
    ) -> NewDestination:
        """Have events sent somewhere from now on: those about what whoever acts may discover when they are sent.

        Everybody may make webhooks, which know the lake by a signature. To other kinds the lake goes with credentials
        of its own, so whoever administers it makes them.

        Args:
            kind: ``webhook``, ``kafka``, ``sns``, ``sqs`` or ``eventbridge``.
            config: Where that is; see ``cordillera.adapters.destinations``.
            topics: The topics of events; none for all.
            within: Names of datasets, views and namespaces; none for all.
            description: What it is for.

        Raises:
            InvalidInputError: If there is no such kind, a setting is missing, unknown or no place to send to, a filter
                makes no sense, or he has too many destinations.
            AccessDeniedError: If it takes somebody who administers the lake.
        """
        chosen = _parse(DestinationKind, "kind of destination", kind)
        if chosen is not DestinationKind.WEBHOOK:
            with self._store.read() as tx:
                self._lookup.lake(tx, Privilege.ADMINISTER)
        self._sender.check(chosen, config)
        wanted, context, now = event_filter(topics, within), current(), self._clock.now()
        check_texts("destination", kind, description=description)
        destination = Destination(
            self._clock.new_id(), chosen, dict(config), description, wanted.topics, wanted.within, context.principal,
            context.authority, now,
        )  # fmt: skip
        with self._store.write() as tx:
            if tx.destinations.count_of(context.principal) >= _MOST_DESTINATIONS:
                raise InvalidInputError(
                    f"{context.principal} has {_MOST_DESTINATIONS} destinations already.",
                    hint="Remove one with: cordillera destination remove ID.",
                )
            tx.destinations.insert(destination)
            self._audit(tx, "destination.create", destination)
        return NewDestination(destination, self._secret(destination))

    def status(self, destination_id: UUID) -> DestinationStatus:
        """Return a destination, and how it does.

        Raises:
            DestinationNotFoundError: If there is none, or it is somebody else's.
        """
        with self._store.read() as tx:
            return self._status(tx, self._existing(tx, destination_id))

    def page(self, after: UUID | None = None, limit: int = 100) -> list[DestinationStatus]:
        """Return a page of destinations, by id."""
        with self._store.read() as tx:
            found = tx.destinations.page(after, limit, viewer=self._lookup.viewer(tx))
            return [self._status(tx, destination) for destination in found]

    def remove(self, destination_id: UUID) -> None:
        """Send nothing more; what waits is dropped."""
        with self._store.write() as tx:
            destination = self._existing(tx, destination_id)
            tx.destinations.delete(destination_id)
            self._audit(tx, "destination.remove", destination)

    def rotate(self, destination_id: UUID, *, keep_hours: int = 24) -> NewDestination:
        """Give a destination a new secret.

        Args:
            destination_id: The destination.
            keep_hours: For how long the old one signs too, so that the receiver can change over.

        Raises:
            NotAllowedError: If it is no webhook.
        """
        if not 0 <= keep_hours <= _MOST_KEEP_HOURS:
            raise InvalidInputError(
                f"An old secret cannot sign for {keep_hours} hours more.", hint=f"Use 0 to {_MOST_KEEP_HOURS}."
            )
        with self._store.write() as tx:
            old = self._existing(tx, destination_id, lock=True)
            if old.kind is not DestinationKind.WEBHOOK:
                raise NotAllowedError(
                    f"The destination {destination_id} has no secret: it is of the kind {old.kind}.",
                    hint="Change the lake's own credentials where it is.",
                )
            until = self._clock.now() + timedelta(hours=keep_hours)
            destination = replace(old, secret_number=old.secret_number + 1, previous_until=until)
            tx.destinations.update(destination)
            self._audit(tx, "destination.rotate", destination)
        return NewDestination(destination, self._secret(destination))

    def test(self, destination_id: UUID) -> EventDelivery:
        """Send a test to a destination and return what came of it. If it is taken, all that waits is due at once."""
        with self._store.read() as tx:
            destination = self._existing(tx, destination_id)
        return self._deliveries.ping(destination)

    def deliveries(
        self, destination_id: UUID, *, state: str | None = None, before: UUID | None = None, limit: int = 100
    ) -> list[EventDelivery]:
        """Return a page of what was or is to be delivered to a destination, newest first.

        Args:
            destination_id: The destination.
            state: Only what is waiting, delivered or dead. Of what was delivered the last thousand are kept, of what
                is dead ten thousand.
            before: The id of the last one of the page before.
            limit: Most on the page.
        """
        wanted = None if state is None else _parse(DeliveryState, "state", state)
        with self._store.read() as tx:
            self._existing(tx, destination_id)
            viewer = self._lookup.viewer(tx)
            return tx.event_deliveries.page(destination_id, state=wanted, before=before, limit=limit, viewer=viewer)

    def replay(self, destination_id: UUID, delivery_id: UUID | None = None) -> int:
        """Try again, under the same id, what was given up; return how many that are.

        Args:
            destination_id: The destination.
            delivery_id: Which one; by default all, the newest thousand at a time.

        Raises:
            NotAllowedError: If the one is not dead.
        """
        with self._store.write() as tx:
            destination = self._existing(tx, destination_id, lock=True)
            dead = self._dead(tx, destination_id, delivery_id)
            tx.event_deliveries.update([revived(one, self._clock.now()) for one in dead])
            enqueue_sending(tx, destination_id, self._clock)
            self._audit(tx, "destination.replay", destination, deliveries=len(dead))
        return len(dead)

    def totals(self) -> dict[str, int]:
        """Return how many deliveries in the lake wait and are dead, and how many destinations fail."""
        with self._store.read() as tx:
            counts = {state.value: count for state, count in tx.event_deliveries.totals().items()}
            return {**counts, DestinationState.FAILING.value: tx.destinations.failing_count()}

    def _dead(self, tx: Transaction, destination_id: UUID, delivery_id: UUID | None) -> list[EventDelivery]:
        viewer, dead = self._lookup.viewer(tx), DeliveryState.DEAD
        if delivery_id is None:
            found = tx.event_deliveries.page(destination_id, state=dead, limit=_MOST_REPLAYED, viewer=viewer)
            return [one for one in found if one.event_number is not None]
        one = tx.event_deliveries.get(delivery_id)
        if one is None or one.destination_id != destination_id or one.state is not dead or one.event_number is None:
            raise NotAllowedError(
                f"The destination {destination_id} has no dead letter {delivery_id}.",
                hint=f"List them with: cordillera destination deliveries {destination_id} --state dead.",
            )
        return [one]

    def _existing(self, tx: Transaction, destination_id: UUID, *, lock: bool = False) -> Destination:
        found = tx.destinations.get(destination_id, lock=lock)
        authorizer = self._lookup.authorizer
        if found is None or not (
            authorizer.acts_for(tx, found.owner) or Privilege.ADMINISTER in authorizer.on_lake(tx)
        ):
            raise DestinationNotFoundError(
                f"There is no destination {destination_id}.", hint="List yours with: cordillera destination list."
            )
        return found

    def _status(self, tx: Transaction, destination: Destination) -> DestinationStatus:
        counts = tx.event_deliveries.counts(destination.id, self._lookup.viewer(tx))
        waiting, dead = (counts.get(one, 0) for one in (DeliveryState.WAITING, DeliveryState.DEAD))
        return DestinationStatus(destination, destination.state, waiting, dead)

    def _secret(self, destination: Destination) -> str | None:
        if destination.kind is not DestinationKind.WEBHOOK:
            return None
        key = lake_key(self._store, self._clock, KeyPurpose.WEBHOOKS)
        return secret_text(webhook_secret(key.secret, destination.id, destination.secret_number))

    def _audit(self, tx: Transaction, action: str, destination: Destination, **details: int) -> None:
        """Note what was done."""
        told = {"kind": destination.kind, "place": destination.place, "owner": destination.owner, **details}
        Trail(tx, self._clock.now()).audit(action, "destination", str(destination.id), told)


def _parse(choices: type[E], what: str, text: str) -> E:
    try:
        return choices(text)
    except ValueError:
        raise InvalidInputError(
            f"There is no {what} {text[:40]!r}.", hint=f"Use one of: {', '.join(choices)}."
        ) from None
