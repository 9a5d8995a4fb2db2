"""What a consumer asks for who wants a target to be kept like a dataset."""

from __future__ import annotations

from dataclasses import dataclass

from cordillera.spec.delivery_trigger import ON_COMMIT
from cordillera.spec.subscription import CopyAtEnd, SubscriptionMode


@dataclass(frozen=True, slots=True)
class WantedSubscription:
    """A subscription that is asked for, in the words of whoever asks.

    Attributes:
        dataset: The dataset; its active dataset version is followed.
        target: The target's name.
        table: The table's name there; empty for the dataset's name.
        consumer: Who asks; empty for whoever calls.
        purpose: What for.
        columns: Columns wanted; none means all, also those added later. Key columns always come along.
        row_filter: SQL condition on the rows wanted; empty for all.
        verify_every_seconds: How often the target is compared with the lake, besides after whole deliveries; None for
            not at all.
        cost_owner: Who pays for it; empty for the consumer.
        days: For how long; None for until it is revoked, or the access that it waits for ends.
        copy_at_end: What becomes of the table at the end: freeze or remove.
        mode: What the table holds: mirror, the rows as they are; log, every change of them; history, every state of
            them with the time for which it held.
        trigger: What deliveries wait for: commit, completion, or a cron expression in UTC. The first does not wait.
    """

    dataset: str
    target: str
    table: str = ""
    consumer: str = ""
    purpose: str = ""
    columns: tuple[str, ...] = ()
    row_filter: str = ""
    verify_every_seconds: int | None = None
    cost_owner: str = ""
    days: int | None = None
    copy_at_end: str = CopyAtEnd.FREEZE
    mode: str = SubscriptionMode.MIRROR
    trigger: str = ON_COMMIT
