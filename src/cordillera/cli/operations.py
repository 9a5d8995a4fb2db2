"""``cordillera event``, ``audit`` and ``task``: what happened in the lake, and what is still to be done."""

from __future__ import annotations

from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import View, number, show_line, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.errors import CorruptDataError
from cordillera.spec.audit_chain import AUDIT_DATASET
from cordillera.spec.counting import counted

event_app = typer.Typer(name="event", no_args_is_help=True, help="What happened to datasets, in order.")
audit_app = typer.Typer(name="audit", no_args_is_help=True, help="Who decided or changed what.")
task_app = typer.Typer(name="task", no_args_is_help=True, help="Background work that waits, runs or was given up.")

_EVENTS: View = {
    "number": number("number"),
    "at": "at",
    "topic": "topic",
    "dataset": "dataset",
    "principal": "principal",
    "payload": "payload",
    "handled_at": "handled_at",
}
_FOLLOWED: View = {"position": number("position"), **_EVENTS}
_AUDIT: View = {
    "number": number("number"),
    "at": "at",
    "principal": "principal",
    "action": "action",
    "object_kind": "object_kind",
    "object_name": "object_name",
    "details": "details",
}
_VERIFICATION: View = {"holds": "holds", "entries": number("entries"), "head": "head"}
_EXPORT: View = {"dataset": "dataset", "entries": number("entries")}
_TASKS: View = {
    "id": "id",
    "kind": "kind",
    "key": "key",
    "state": "state",
    "attempts": "attempts",
    "due_at": "due_at",
    "leased_by": "leased_by",
    "last_error": "last_error",
}


@command(event_app, "list", example="cordillera event list --dataset sales.orders --limit 20")
def list_events(
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only of this dataset.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List events, newest first."""
    with open_lake() as lake:
        found = paged(
            lambda before, size: lake.backend.events(dataset=dataset, before=before, limit=size),
            None,
            lambda one: one.number,
            limit=limit,
            everything=all,
        )
        show_list(found, _EVENTS, none="There are no such events.")


@command(
    event_app, "follow", example="cordillera event follow --topic partition.completed --within sales --output json"
)
def follow_events(
    topic: Annotated[list[str] | None, typer.Option("--topic", help="Only of this topic; can be repeated.")] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            "--within", help="Only about this dataset or view, or what is in this namespace; can be repeated."
        ),
    ] = None,
    after: Annotated[
        int | None, typer.Option("--after", min=0, help="The position of the last event that you have; now by default.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="End when nothing has happened for so many seconds.")
    ] = None,
) -> None:
    """Show events as they are handled, one a line, until it is interrupted. As JSON each line is one event."""
    with open_lake() as lake:
        for event in lake.events(topics=topic or (), within=within or (), after=after, timeout=timeout):
            show_line(event, _FOLLOWED)


@command(audit_app, "list", example="cordillera audit list --object sales.orders --all --output csv > audit.csv")
def list_audit(
    object: Annotated[str | None, typer.Option("--object", help="Only about the object of this name.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List the audit log, newest first."""
    with open_lake() as lake:
        found = paged(
            lambda before, size: lake.backend.audit(object_name=object, before=before, limit=size),
            None,
            lambda one: one.number,
            limit=limit,
            everything=all,
        )
        show_list(found, _AUDIT, none="The audit log has no such entries.")


@command(audit_app, "verify", example="cordillera audit verify --head 4711:9f86d081884c7d65…")
def verify(
    head: Annotated[
        str, typer.Option("--head", help="What an earlier look printed; it has to be part of the chain still.")
    ] = "",
) -> None:
    """Look whether the audit log is whole: no entry changed, removed or put in since it was chained."""
    with open_lake() as lake:
        found = lake.backend.verify_audit(head)
    if not found.holds:
        raise CorruptDataError(
            found.problem,
            hint=f"The log is as it was up to {found.head or 'nowhere'}; compare with an export or a backup.",
            details={"number": found.number, "head": found.head},
        )
    show_outcome(
        f"The audit log is whole: {counted(found.entries, 'entry', 'entries')}. Keep this to prove it again later.",
        found,
        _VERIFICATION,
        answer=found.head,
    )


@command(audit_app, "export", example="cordillera audit export system.audit")
def export(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Where to; it is made if need be.")] = AUDIT_DATASET,
) -> None:
    """Bring what is new in the audit log into a dataset."""
    with open_lake() as lake:
        done = lake.backend.export_audit(dataset)
    show_outcome(f"Brought {counted(done.entries, 'entry', 'entries')} into {done.dataset}.", done, _EXPORT)


@command(task_app, "list", example="cordillera task list --state failed")
def list_tasks(
    state: Annotated[str | None, typer.Option("--state", help="Only in this state: queued, running, failed.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List background tasks. A task that is done is not kept."""
    with open_lake() as lake:
        found = paged(
            lambda after, size: lake.backend.tasks(state=state, after=after, limit=size),
            None,
            lambda one: one.id,
            limit=limit,
            everything=all,
        )
        show_list(found, _TASKS, none="No such task waits or runs.")
