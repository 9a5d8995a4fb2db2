"""``cordillera destination``: where events are sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit, parse_pairs
from cordillera.cli.output import View, number, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce
from cordillera.errors import EndpointUnreachableError
from cordillera.spec.counting import counted

if TYPE_CHECKING:  # it brings libraries that take long to load
    from cordillera.destinations.service import NewDestination

app = typer.Typer(
    name="destination",
    no_args_is_help=True,
    help="Where events are sent to: a webhook, Kafka, SNS, SQS or EventBridge.",
)
_VIEW: View = {
    "id": "destination.id",
    "kind": "destination.kind",
    "config": "destination.config",
    "topics": "destination.topics",
    "within": "destination.within",
    "owner": "destination.owner",
    "state": "state",
    "failing_since": "destination.failing_since",
    "waiting": number("waiting"),
    "dead": number("dead"),
}
_DETAILS: View = {
    **_VIEW,
    "description": "destination.description",
    "created_at": "destination.created_at",
    "last_delivered_at": "destination.last_delivered_at",
    "last_error": "destination.last_error",
    "disabled_at": "destination.disabled_at",
    "previous_until": "destination.previous_until",
}
_NEW: View = {"secret": "secret", "id": "destination.id", "kind": "destination.kind", "config": "destination.config"}
_DELIVERIES: View = {
    "id": "id",
    "topic": "topic",
    "dataset": "dataset",
    "state": "state",
    "attempts": number("attempts"),
    "status": "status",
    "error": "error",
    "created_at": "created_at",
    "due_at": "due_at",
    "finished_at": "finished_at",
}
_ID = "0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3"

Id = Annotated[UUID, typer.Argument(metavar="ID", help="The destination's id.")]


@command(
    app,
    "create",
    example=(
        "cordillera destination create webhook url=https://hooks.example.com/lake --topic partition.completed --within "
        "sales\n"
        "cordillera destination create kafka servers=kafka.example.com:9093 topic=lake-events\n"
        "cordillera destination create sqs arn=arn:aws:sqs:eu-central-1:123456789012:lake-events.fifo"
    ),
)
def create(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="webhook, kafka, sns, sqs or eventbridge.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Settings of the kind.")] = None,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Only events of this topic; can be repeated.")
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            "--within", help="Only about this dataset or view, or what is in this namespace; can be repeated."
        ),
    ] = None,
    description: Annotated[str, typer.Option("--description", help="What it is for.", show_default=False)] = "",
) -> None:
    """Have events sent somewhere. The secret that signs those of a webhook is printed this once, and never again.

    Secrets are not stored: for kafka, name the environment variable that holds the password, as password_env; for AWS,
    the lake's processes find credentials as AWS's tools do.
    """
    config = parse_pairs(settings or [], "setting")
    with open_lake() as lake:
        made = lake.backend.create_destination(
            kind, config, topics=topic or (), within=within or (), description=description
        )
    _show_new(f"Made the destination {made.destination.id}.", made)


@command(app, "list", example="cordillera destination list")
def list_destinations(limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List your destinations, and how they do."""
    with open_lake() as lake:
        found = paged(lake.backend.destinations, None, lambda one: one.destination.id, limit=limit, everything=all)
        show_list(
            found, _VIEW, none="There are no destinations. Make one with: cordillera destination create KIND KEY=VALUE."
        )


@command(app, "show", example=f"cordillera destination show {_ID}")
def show_destination(id: Id) -> None:
    """Show a destination, and how it does."""
    with open_lake() as lake:
        show(lake.backend.destination(id), _DETAILS)


@command(app, "test", example=f"cordillera destination test {_ID}")
def test(id: Id) -> None:
    """Send a test now. If it is taken, all that waits is sent at once."""
    with open_lake() as lake:
        done = lake.backend.test_destination(id)
    if done.error:
        raise EndpointUnreachableError(
            f"The destination {id} did not take the test: {done.error}",
            hint=f"Correct what receives, or see: cordillera destination show {id}.",
            details={"status": done.status},
        )
    show_outcome(f"The destination {id} took the test.", done, _DELIVERIES)


@command(app, "rotate", example=f"cordillera destination rotate {_ID} --keep-hours 48 > secret.txt")
def rotate(
    id: Id,
    keep_hours: Annotated[int, typer.Option("--keep-hours", min=0, help="For how long the old one signs too.")] = 24,
) -> None:
    """Give a webhook a new secret, printed this once. The old one signs too for a while, to be replaced in peace."""
    with open_lake() as lake:
        made = lake.backend.rotate_destination(id, keep_hours=keep_hours)
    _show_new(f"The destination {id} has a new secret.", made)


@command(app, "deliveries", example=f"cordillera destination deliveries {_ID} --state dead")
def deliveries(
    id: Id,
    state: Annotated[str | None, typer.Option("--state", help="Only in this state: waiting, delivered, dead.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List what was or is to be sent to a destination, newest first, and what came of it."""
    with open_lake() as lake:
        found = paged(
            lambda before, size: lake.backend.event_deliveries(id, state=state, before=before, limit=size),
            None,
            lambda one: one.id,
            limit=limit,
            everything=all,
        )
        show_list(found, _DELIVERIES, none="There are no such deliveries.")


@command(app, "replay", example=f"cordillera destination replay {_ID}")
def replay(
    id: Id,
    delivery: Annotated[UUID | None, typer.Option("--delivery", metavar="ID", help="Only this delivery.")] = None,
) -> None:
    """Send again what was given up, under the same ids: the newest thousand at a time."""
    with open_lake() as lake:
        count = lake.backend.replay_destination(id, delivery)
    announce(f"{counted(count, 'delivery', 'deliveries')} of the destination {id} will be tried again.")


@command(app, "remove", example=f"cordillera destination remove {_ID}")
def remove(id: Id) -> None:
    """Send nothing more to a destination; what waits is dropped."""
    with open_lake() as lake:
        lake.backend.remove_destination(id)
    announce(f"Removed the destination {id}.")


def _show_new(said: str, made: NewDestination) -> None:
    if made.secret is None:
        show_outcome(said, made, _NEW, answer=str(made.destination.id))
    else:
        show_outcome(f"{said} Keep its secret safe: it is shown only now.", made, _NEW, answer=made.secret)
