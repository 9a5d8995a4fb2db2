"""Changing what a subscription is to, while it follows: what of it is more than was approved, and what it does to the
copy. Pure rules."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cordillera.errors import LifecycleError, NotAllowedError
from cordillera.spec.delivery_trigger import checked_trigger
from cordillera.spec.subscription import (
    ENDED,
    Subscription,
    SubscriptionMode,
    SubscriptionState,
    check_verified,
    parse_mode,
)


@dataclass(frozen=True, slots=True)
class WishChange:
    """What is to be otherwise about a subscription; None leaves it as it is.

    Attributes:
        mode: What the table holds.
        trigger: What deliveries wait for.
        columns: Columns wanted; none means all.
        row_filter: SQL condition on the rows wanted; empty for all.
        cost_owner: Who pays for it; empty for the consumer.
    """

    mode: str | None = None
    trigger: str | None = None
    columns: tuple[str, ...] | None = None
    row_filter: str | None = None
    cost_owner: str | None = None

    def applied_to(self, subscription: Subscription) -> Subscription:
        """Return a subscription as it is wished for.

        Raises:
            LifecycleError: If it has ended, or waits for an approval.
            InvalidInputError: If there is no such mode or trigger.
            NotAllowedError: If a log or a history would go on with other columns or rows, or a log be verified.
        """
        if subscription.state in ENDED or subscription.state is SubscriptionState.REQUESTED:
            raise LifecycleError(
                f"The subscription of {subscription.consumer} to {subscription.dataset} is "
                f"{subscription.state.in_words} and cannot be changed.",
                hint="Subscribe again." if subscription.state in ENDED else "Revoke it, and ask for what is wanted.",
            )
        given = {
            "mode": None if self.mode is None else parse_mode(self.mode),
            "trigger": None if self.trigger is None else checked_trigger(self.trigger),
            "columns": self.columns,
            "row_filter": self.row_filter,
            "cost_owner": self.cost_owner,
        }
        wished = replace(subscription, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # each is of its field's type
        same_mode = subscription.mode is wished.mode
        if same_mode and wished.mode is not SubscriptionMode.MIRROR and comes_anew(subscription, wished):
            raise NotAllowedError(
                f"The {wished.mode} of {subscription.dataset} in {subscription.target} tells the changes of some "
                "columns and rows; it cannot go on with others.",
                hint="Subscribe a second table, or change the mode as well, which puts a mirror in its place.",
            )
        if wished.verify_every_seconds is not None:
            check_verified(wished.mode)
        return wished


def comes_anew(before: Subscription, after: Subscription) -> bool:
    """Tell whether a change lets everything come anew, in the place of what the target holds."""
    return (before.mode, before.columns, before.row_filter) != (after.mode, after.columns, after.row_filter)


def widened(before: Subscription, after: Subscription) -> tuple[str, ...]:
    """Return, in words, what a change asks for beyond what there was.

    Another row filter in the place of one counts as wider: of two conditions it is not known which lets more rows pass.
    """
    found = []
    if before.columns and not after.columns:
        found.append("all columns")
    elif before.columns and (more := [name for name in after.columns if name not in before.columns]):
        found.append(f"the columns {', '.join(more)}")
    if before.row_filter not in ("", after.row_filter):
        found.append("other rows" if after.row_filter else "all rows")
    return tuple(found)


def in_words(before: Subscription, after: Subscription) -> str:
    """Return what a change changes, for the history."""
    parts = {
        "mode": (before.mode.value, after.mode.value),
        "trigger": (before.trigger, after.trigger),
        "columns": (", ".join(before.columns) or "all", ", ".join(after.columns) or "all"),
        "rows": (before.row_filter or "all", after.row_filter or "all"),
        "cost owner": (before.cost_owner or before.consumer, after.cost_owner or after.consumer),
    }
    return "; ".join(f"{name} {old} → {new}" for name, (old, new) in parts.items() if old != new)
