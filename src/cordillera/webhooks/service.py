"""Webhooks: making them, looking how they do, and what to do when they fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

from cordillera.catalog.lake_keys import lake_key
from cordillera.catalog.lookup import Lookup
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import InvalidInputError, NotAllowedError, WebhookNotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.webhook_sender import WebhookSender
from cordillera.spec.access import Privilege
from cordillera.spec.event_filter import event_filter
from cordillera.spec.lake_key import KeyPurpose
from cordillera.spec.texts import check_texts
from cordillera.spec.webhook import (
    DeliveryState,
    Webhook,
    WebhookDelivery,
    WebhookState,
    WebhookStatus,
    revived,
    secret_text,
    webhook_secret,
)
from cordillera.webhooks.delivery import WebhookDeliveryService
from cordillera.webhooks.handlers import enqueue_sending

_MOST_WEBHOOKS = 50
_MOST_REPLAYED = 1_000
_MOST_KEEP_HOURS = 24 * 30


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook with its secret, which is shown this once."""

    webhook: Webhook
    secret: str

    def __repr__(self) -> str:
        return f"NewWebhook({self.webhook.id!r}, secret=…)"


class WebhookService:
    """Manages webhooks: each principal his own, whoever administers the lake all.

    Args:
        store: Keeps them.
        lookup: Knows who may see and do what.
        sender: Knows what addresses may be sent to.
        deliveries: Sends tests.
        clock: Time and ids.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        sender: WebhookSender,
        deliveries: WebhookDeliveryService,
        clock: Clock,
    ) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock
        self._sender, self._deliveries = sender, deliveries

    def create(
        self, url: str, *, topics: Sequence[str] = (), within: Sequence[str] = (), description: str = ""
    ) -> NewWebhook:
        """Have events sent to an address from now on: those about what whoever acts may discover when they are sent.

        Args:
            url: The address.
            topics: The topics of events; none for all.
            within: Names of datasets, views and namespaces; none for all.
            description: What it is for.

        Raises:
            InvalidInputError: If it is no address to send to, a filter makes no sense, or he has too many webhooks.
        """
        self._sender.check(url)
        wanted, context, now = event_filter(topics, within), current(), self._clock.now()
        check_texts("webhook", _host(url), description=description)
        webhook = Webhook(
            self._clock.new_id(), url, description, wanted.topics, wanted.within, context.principal,
            context.authority, now,
        )  # fmt: skip
        with self._store.write() as tx:
            if tx.webhooks.count_of(context.principal) >= _MOST_WEBHOOKS:
                raise InvalidInputError(
                    f"{context.principal} has {_MOST_WEBHOOKS} webhooks already.",
                    hint="Remove one with: cordillera webhook remove ID.",
                )
            tx.webhooks.insert(webhook)
            self._audit(tx, "webhook.create", webhook)
        return NewWebhook(webhook, self._secret(webhook))

    def status(self, webhook_id: UUID) -> WebhookStatus:
        """Return a webhook, and how it does.

        Raises:
            WebhookNotFoundError: If there is none, or it is somebody else's.
        """
        with self._store.read() as tx:
            return self._status(tx, self._existing(tx, webhook_id))

    def page(self, after: UUID | None = None, limit: int = 100) -> list[WebhookStatus]:
        """Return a page of webhooks, by id."""
        with self._store.read() as tx:
            found = tx.webhooks.page(after, limit, viewer=self._lookup.viewer(tx))
            return [self._status(tx, webhook) for webhook in found]

    def remove(self, webhook_id: UUID) -> None:
        """Send nothing more; what waits is dropped."""
        with self._store.write() as tx:
            webhook = self._existing(tx, webhook_id)
            tx.webhooks.delete(webhook_id)
            self._audit(tx, "webhook.remove", webhook)

    def rotate(self, webhook_id: UUID, *, keep_hours: int = 24) -> NewWebhook:
        """Give a webhook a new secret.

        Args:
            webhook_id: The webhook.
            keep_hours: For how long the old one signs too, so that the receiver can change over.
        """
        if not 0 <= keep_hours <= _MOST_KEEP_HOURS:
            raise InvalidInputError(
                f"An old secret cannot sign for {keep_hours} hours more.", hint=f"Use 0 to {_MOST_KEEP_HOURS}."
            )
        with self._store.write() as tx:
            old = self._existing(tx, webhook_id, lock=True)
            until = self._clock.now() + timedelta(hours=keep_hours)
            webhook = replace(old, secret_number=old.secret_number + 1, previous_until=until)
            tx.webhooks.update(webhook)
            self._audit(tx, "webhook.rotate", webhook)
        return NewWebhook(webhook, self._secret(webhook))

    def test(self, webhook_id: UUID) -> WebhookDelivery:
        """Send a test to a webhook and return what came of it. If it is taken, all that waits is due at once."""
        with self._store.read() as tx:
            webhook = self._existing(tx, webhook_id)
        return self._deliveries.ping(webhook)

    def deliveries(
        self, webhook_id: UUID, *, state: str | None = None, before: UUID | None = None, limit: int = 100
    ) -> list[WebhookDelivery]:
        """Return a page of what was or is to be delivered to a webhook, newest first.

        Args:
            webhook_id: The webhook.
            state: Only what is waiting, delivered or dead. Of what was delivered the last thousand are kept, of what
                is dead ten thousand.
            before: The id of the last one of the page before.
            limit: Most on the page.
        """
        wanted = _parse_state(state)
        with self._store.read() as tx:
            self._existing(tx, webhook_id)
            viewer = self._lookup.viewer(tx)
            return tx.webhook_deliveries.page(webhook_id, state=wanted, before=before, limit=limit, viewer=viewer)

    def replay(self, webhook_id: UUID, delivery_id: UUID | None = None) -> int:
        """Try again, under the same id, what was given up; return how many that are.

        Args:
            webhook_id: The webhook.
            delivery_id: Which one; by default all, the newest thousand at a time.

        Raises:
            NotAllowedError: If the one is not dead.
        """
        with self._store.write() as tx:
            webhook = self._existing(tx, webhook_id, lock=True)
            dead = self._dead(tx, webhook_id, delivery_id)
            for one in dead:
                tx.webhook_deliveries.update(revived(one, self._clock.now()))
            enqueue_sending(tx, webhook_id, self._clock)
            self._audit(tx, "webhook.replay", webhook, deliveries=len(dead))
        return len(dead)

    def totals(self) -> dict[str, int]:
        """Return how many deliveries in the lake wait and are dead, and how many webhooks fail."""
        with self._store.read() as tx:
            counts = {state.value: count for state, count in tx.webhook_deliveries.totals().items()}
            return {**counts, WebhookState.FAILING.value: tx.webhooks.failing_count()}

    def _dead(self, tx: Transaction, webhook_id: UUID, delivery_id: UUID | None) -> list[WebhookDelivery]:
        viewer, dead = self._lookup.viewer(tx), DeliveryState.DEAD
        if delivery_id is None:
            found = tx.webhook_deliveries.page(webhook_id, state=dead, limit=_MOST_REPLAYED, viewer=viewer)
            return [one for one in found if one.event_number is not None]
        one = tx.webhook_deliveries.get(delivery_id)
        if one is None or one.webhook_id != webhook_id or one.state is not dead or one.event_number is None:
            raise NotAllowedError(
                f"The webhook {webhook_id} has no dead letter {delivery_id}.",
                hint=f"List them with: cordillera webhook deliveries {webhook_id} --state dead.",
            )
        return [one]

    def _existing(self, tx: Transaction, webhook_id: UUID, *, lock: bool = False) -> Webhook:
        found = tx.webhooks.get(webhook_id, lock=lock)
        authorizer = self._lookup.authorizer
        if found is None or not (
            authorizer.acts_for(tx, found.owner) or Privilege.ADMINISTER in authorizer.on_lake(tx)
        ):
            raise WebhookNotFoundError(
                f"There is no webhook {webhook_id}.", hint="List yours with: cordillera webhook list."
            )
        return found

    def _status(self, tx: Transaction, webhook: Webhook) -> WebhookStatus:
        counts = tx.webhook_deliveries.counts(webhook.id, self._lookup.viewer(tx))
        state = WebhookState.HEALTHY if webhook.failing_since is None else WebhookState.FAILING
        waiting, dead = (counts.get(one, 0) for one in (DeliveryState.WAITING, DeliveryState.DEAD))
        return WebhookStatus(webhook, state, waiting, dead)

    def _secret(self, webhook: Webhook) -> str:
        key = lake_key(self._store, self._clock, KeyPurpose.WEBHOOKS)
        return secret_text(webhook_secret(key.secret, webhook.id, webhook.secret_number))

    def _audit(self, tx: Transaction, action: str, webhook: Webhook, **details: int) -> None:
        """Note what was done; of the address the host alone, since the rest may be a secret."""
        told = {"host": _host(webhook.url), "owner": webhook.owner, **details}
        Trail(tx, self._clock.now()).audit(action, "webhook", str(webhook.id), told)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _parse_state(text: str | None) -> DeliveryState | None:
    if text is None:
        return None
    try:
        return DeliveryState(text)
    except ValueError:
        raise InvalidInputError(
            f"There is no state {text[:40]!r}.", hint=f"Use one of: {', '.join(DeliveryState)}."
        ) from None
