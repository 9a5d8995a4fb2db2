"""What a subscription has to be to for its target to point at the lake's own files: all of a dataset, as it is."""

from __future__ import annotations

from cordillera.errors import NotAllowedError
from cordillera.spec.subscription import Subscription, SubscriptionMode


def check_whole(subscription: Subscription, *, narrowed: bool) -> None:
    """Refuse to point at files for who is to have a part of what is in them, or more than the rows.

    Args:
        subscription: What is asked for.
        narrowed: Whether whoever asks is shown a part only.

    Raises:
        NotAllowedError: Saying what of it cannot be.
    """
    parts = ["some columns"] if subscription.columns else []
    parts += ["rows that meet a condition"] if subscription.row_filter else []
    parts += [f"what grants show {subscription.on_behalf_of or 'whoever asks'} of it"] if narrowed else []
    if parts:
        raise NotAllowedError(
            f"The target {subscription.target} points at the files of {subscription.dataset}, which show all of it; "
            f"the subscription is to {' and '.join(parts)} only.",
            hint="Use a target that rows are carried to, such as iceberg or parquet, or subscribe to all of it.",
        )
    if subscription.mode is not SubscriptionMode.MIRROR:
        raise NotAllowedError(
            f"The target {subscription.target} points at the files of {subscription.dataset}: it cannot keep a "
            f"{subscription.mode}.",
            hint="Use a target that takes single rows, such as PostgreSQL or DuckDB.",
        )
