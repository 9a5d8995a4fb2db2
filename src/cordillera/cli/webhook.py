"""``cordillera webhook``: addresses that events are sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import View, number, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce
from cordillera.errors import EndpointUnreachableError
from cordillera.spec.counting import counted

if TYPE_CHECKING:  # it brings libraries that take long to load
    from cordillera.webhooks.service import NewWebhook

app = typer.Typer(name="webhook", no_args_is_help=True, help="An address that events are sent to, signed.")
_VIEW: View = {
    "id": "webhook.id",
    "url": "webhook.url",
    "topics": "webhook.topics",
    "within": "webhook.within",
    "owner": "webhook.owner",
    "state": "state",
    "failing_since": "webhook.failing_since",
    "waiting": number("waiting"),
    "dead": number("dead"),
}
_DETAILS: View = {
    **_VIEW,
    "description": "webhook.description",
    "created_at": "webhook.created_at",
    "last_delivered_at": "webhook.last_delivered_at",
    "last_error": "webhook.last_error",
    "previous_until": "webhook.previous_until",
}
_NEW: View = {"secret": "secret", "id": "webhook.id", "url": "webhook.url"}
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

Id = Annotated[UUID, typer.Argument(metavar="ID", help="The webhook's id.")]


@command(
    app,
    "create",
    example="cordillera webhook create https://hooks.example.com/lake --topic partition.completed --within sales",
)
def create(
    address: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent.")],
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
    """Have events sent to an address. The secret that signs them is printed this once and cannot be shown again."""
    with open_lake() as lake:
        made = lake.backend.create_webhook(address, topics=topic or (), within=within or (), description=description)
    _show_new(f"Made the webhook {made.webhook.id}.", made)


@command(app, "list", example="cordillera webhook list")
def list_webhooks(limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List your webhooks, and how they do."""
    with open_lake() as lake:
        found = paged(lake.backend.webhooks, None, lambda one: one.webhook.id, limit=limit, everything=all)
        show_list(found, _VIEW, none="There are no webhooks. Make one with: cordillera webhook create URL.")


@command(app, "show", example=f"cordillera webhook show {_ID}")
def show_webhook(id: Id) -> None:
    """Show a webhook, and how it does."""
    with open_lake() as lake:
        show(lake.backend.webhook(id), _DETAILS)


@command(app, "test", example=f"cordillera webhook test {_ID}")
def test(id: Id) -> None:
    """Send a test now. If it is taken, all that waits is sent at once."""
    with open_lake() as lake:
        done = lake.backend.test_webhook(id)
    if done.error:
        raise EndpointUnreachableError(
            f"The webhook {id} did not take the test: {done.error}",
            hint=f"Correct what receives, or see: cordillera webhook show {id}.",
            details={"status": done.status},
        )
    show_outcome(f"The webhook {id} took the test.", done, _DELIVERIES)


@command(app, "rotate", example=f"cordillera webhook rotate {_ID} --keep-hours 48 > secret.txt")
def rotate(
    id: Id,
    keep_hours: Annotated[int, typer.Option("--keep-hours", min=0, help="For how long the old one signs too.")] = 24,
) -> None:
    """Give a webhook a new secret, printed this once. The old one signs too for a while, to be replaced in peace."""
    with open_lake() as lake:
        made = lake.backend.rotate_webhook(id, keep_hours=keep_hours)
    _show_new(f"The webhook {id} has a new secret.", made)


@command(app, "deliveries", example=f"cordillera webhook deliveries {_ID} --state dead")
def deliveries(
    id: Id,
    state: Annotated[str | None, typer.Option("--state", help="Only in this state: waiting, delivered, dead.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List what was or is to be sent to a webhook, newest first, and what came of it."""
    with open_lake() as lake:
        found = paged(
            lambda before, size: lake.backend.webhook_deliveries(id, state=state, before=before, limit=size),
            None,
            lambda one: one.id,
            limit=limit,
            everything=all,
        )
        show_list(found, _DELIVERIES, none="There are no such deliveries.")


@command(app, "replay", example=f"cordillera webhook replay {_ID}")
def replay(
    id: Id,
    delivery: Annotated[UUID | None, typer.Option("--delivery", metavar="ID", help="Only this delivery.")] = None,
) -> None:
    """Send again what was given up, under the same ids: the newest thousand at a time."""
    with open_lake() as lake:
        count = lake.backend.replay_webhook(id, delivery)
    announce(f"{counted(count, 'delivery', 'deliveries')} of the webhook {id} will be tried again.")


@command(app, "remove", example=f"cordillera webhook remove {_ID}")
def remove(id: Id) -> None:
    """Send nothing more to a webhook's address; what waits is dropped."""
    with open_lake() as lake:
        lake.backend.remove_webhook(id)
    announce(f"Removed the webhook {id}.")


def _show_new(said: str, made: NewWebhook) -> None:
    show_outcome(f"{said} Keep its secret safe: it is shown only now.", made, _NEW, answer=made.secret)
