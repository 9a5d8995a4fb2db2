"""``cordillera subscription verify``, ``repair`` and ``schedule``: whether a target equals the lake."""

from __future__ import annotations

from cordillera.cli.command import command
from cordillera.cli.options import SubscriptionId
from cordillera.cli.output import Part, View, number, show
from cordillera.cli.session import open_lake
from cordillera.cli.subscription import SKIPS, VerifyEvery, app, seconds, show_change
from cordillera.cli.terminal import announce
from cordillera.errors import TargetDriftError

_VERIFICATION: View = {
    "equal": "equal",
    "snapshot": number("sequence_number"),
    "rows_lake": "rows_lake",
    "rows_target": "rows_target",
    "checksum_lake": "checksum_lake",
    "checksum_target": "checksum_target",
    "rows_missing": "rows_missing",
    "rows_unexpected": "rows_unexpected",
    "rows_different": "rows_different",
    "columns": "columns",
    "missing": "missing",
    "unexpected": "unexpected",
    "different": "different",
    "complete": "complete",
    "keys_unsound": "keys_unsound",
    "unsound": "unsound",
    "differences": "differences",
}
_REPAIR: View = {
    "rows_restored": "rows_restored",
    "rows_removed": "rows_removed",
    "equal": "verified.equal",
    "snapshot": number("verified.sequence_number"),
    "rows_lake": "verified.rows_lake",
    "rows_target": "verified.rows_target",
}


@command(app, "verify", example="cordillera subscription verify 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def verify(id: SubscriptionId) -> None:
    """Compare the target with the lake by keyed checksum; the exit code is 7 when they differ."""
    with open_lake() as lake:
        outcome = lake.backend.verify_subscription(id)
    show(outcome, _VERIFICATION, [Part("Skipped", outcome.skips, SKIPS)])
    if not outcome.equal:
        raise TargetDriftError(
            f"The target does not hold the rows of snapshot {outcome.sequence_number}.",
            hint="Somebody else may have written to its table. To put the rows right that differ: "
            f"cordillera subscription repair {id}",
        )
    announce("The target equals the lake.")


@command(app, "repair", example="cordillera subscription repair 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def repair(id: SubscriptionId) -> None:
    """Put right the rows in which the target differs from the lake, and no others; exit code 7 if it differs still."""
    with open_lake() as lake:
        outcome = lake.backend.repair_subscription(id)
    show(outcome, _REPAIR)
    if not outcome.verified.equal:
        raise TargetDriftError(
            f"The target still does not hold the rows of snapshot {outcome.verified.sequence_number}.",
            hint="Somebody else is writing to its table; stop that, then repair it again.",
        )
    announce("The target equals the lake.")


@command(
    app,
    "schedule",
    example=(
        "cordillera subscription schedule 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --verify-every 24\n"
        "cordillera subscription schedule 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3"
    ),
)
def schedule(id: SubscriptionId, verify_every: VerifyEvery = None) -> None:
    """Say how often the target is compared with the lake; without --verify-every, not by itself any more."""
    with open_lake() as lake:
        changed = lake.backend.schedule_verification(id, seconds(verify_every))
    told = "is not verified by itself" if verify_every is None else f"is verified every {verify_every:g} hours"
    show_change(f"The target {told}.", changed)
