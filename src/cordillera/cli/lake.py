"""Commands about the lake as a whole: ``init``, ``serve``, ``worker``, ``migrate``, ``doctor`` and ``sql``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from cordillera.cli.command import Place, command
from cordillera.cli.failures import DOCTOR_ERROR, DOCTOR_WARNING
from cordillera.cli.options import DryRun, RowLimit, ToFile, Yes, parse_pairs, read_text
from cordillera.cli.output import View, show_list, show_outcome
from cordillera.cli.session import configure_logging, lake_folder, open_lake
from cordillera.cli.terminal import announce, go_ahead, warn
from cordillera.errors import InvalidConfigurationError
from cordillera.spec.counting import counted
from cordillera.stop_signal import StopSignal

if TYPE_CHECKING:
    from cordillera.client import Lake
    from cordillera.maintenance.results import OrphanRemoval
    from cordillera.operations.doctor import Finding

app = typer.Typer()
_LAKE: View = {"name": "name", "id": "id", "storage_root": "storage_root", "created_at": "created_at"}
_FINDINGS: View = {"check": "check", "verdict": "verdict", "message": "message", "hint": "hint"}
_REMOVAL: View = {"removed": "removed", "files": "files", "bytes": "bytes", "unfinished": "unfinished"}
_ORPHANS: View = {"dataset": "dataset", "uri": "uri", "bytes": "bytes", "unfinished": "unfinished"}


@command(
    app,
    "init",
    example="cordillera init ./lake\ncordillera init ./lake --name sales --storage-root s3://company-lake/sales",
    place=Place.NOWHERE,
)
def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The lake's folder; it is made if need be.")] = Path(),
    name: Annotated[str, typer.Option("--name", help="The lake's name, shown on every page.")] = "lake",
    metadata_url: Annotated[
        str,
        typer.Option(
            "--metadata-url",
            metavar="URL",
            show_default=False,
            help="The metadata database; by default SQLite in the folder. A URL with a password belongs into the "
            "environment variable CORDILLERA_METADATA_URL.",
        ),
    ] = "",
    storage_root: Annotated[
        str,
        typer.Option(
            "--storage-root", metavar="URI", show_default=False, help="Where data lives; by default in the folder."
        ),
    ] = "",
) -> None:
    """Create a lake in a folder."""
    import cordillera

    if urlsplit(metadata_url).password:
        raise InvalidConfigurationError(
            "The metadata URL holds a password, which would be stored in clear in the lake's settings file.",
            hint="Set the environment variable CORDILLERA_METADATA_URL to the URL instead of giving --metadata-url.",
        )
    with cordillera.create(path, name=name, metadata_url=metadata_url, storage_root=storage_root) as lake:
        made = lake.backend.info()
    for setting, given in (("METADATA_URL", metadata_url), ("STORAGE_ROOT", storage_root)):
        if given and os.environ.get(f"CORDILLERA_{setting}", given) != given:
            warn(f"CORDILLERA_{setting} names another place, and goes first when the lake is opened. Unset it.")
    here = path.resolve() == Path.cwd()
    place = "" if here else f" --lake {path}"
    steps = [
        f"cordillera namespace create sales{place}",
        f"cordillera dataset create sales.orders --like orders.parquet --key order_id{place}",
        f"cordillera dataset write sales.orders orders.parquet{place}",
        f"cordillera serve{place}",
    ]
    said = f"Created the lake {name!r} in {'this folder' if here else path}. Next steps:"
    show_outcome("\n  ".join([said, *steps]), made, _LAKE)


@command(app, "serve", example="cordillera serve --lake ./lake --port 8470", place=Place.FOLDER)
def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; put a proxy with TLS before others than loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 for any that is free.")] = 8470,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Background workers in this process.")] = 1,
    insecure_local: Annotated[
        bool, typer.Option("--insecure-local", help="Ask for no token: everybody on this machine acts as you.")
    ] = False,
) -> None:
    """Serve a lake: HTTP API, pages and background workers in one process."""
    from cordillera.server import serve as run_server

    configure_logging(talkative=True)
    run_server(lake_folder(), host=host, port=port, workers=workers, insecure_local=insecure_local)


@command(app, "worker", example="cordillera worker --count 4\ncordillera worker --until-idle", place=Place.FOLDER)
def worker(
    count: Annotated[int, typer.Option("--count", min=1, help="Workers in this process.")] = 1,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Do what is due, then end.")] = False,
) -> None:
    """Do background work: deliver to targets, start and execute runs. Ends on Ctrl-C or SIGTERM."""
    configure_logging(talkative=True)
    with open_lake() as lake:
        if until_idle:
            done = lake.run_pending()
            announce(f"Done: {counted(done.events, 'event')}, {counted(done.tasks, 'task')}.")
            return
        with StopSignal() as stop, lake.workers(count):
            announce(f"{counted(count, 'worker')} for the lake in {lake_folder()}; Ctrl-C ends.")
            stop.wait()
            announce("Ending when the tasks in hand are done.")


@command(app, "migrate", example="cordillera migrate --lake ./lake", place=Place.FOLDER)
def migrate() -> None:
    """Bring the metadata database up to this release, after an upgrade. Stop servers and workers first."""
    from cordillera.app import Application
    from cordillera.settings import load_settings

    with Application(load_settings(lake_folder())) as lake:
        lake.store.migrate()
        info = lake.lake()
    show_outcome(f"The metadata database of the lake {info.name!r} is up to date.", info, _LAKE)


@command(
    app,
    "doctor",
    example=(
        "cordillera doctor\n"
        "cordillera doctor --orphans --older-than 72 --output csv\n"
        "cordillera doctor --remove-orphans --dry-run"
    ),
)
def doctor(
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans", help="List the files that belong to no snapshot, also unfinished ones, instead of the checks."
        ),
    ] = False,
    remove_orphans: Annotated[
        bool, typer.Option("--remove-orphans", help="Remove the files that belong to no snapshot, instead.")
    ] = False,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than",
            metavar="HOURS",
            min=0,
            show_default=False,
            help="Pass over younger files; by default 24 with --orphans, 72 with --remove-orphans.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --remove-orphans: allow an age below a day. Nobody must be writing.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Examine a lake without changing it. The exit code says how bad the worst finding is."""
    with open_lake() as lake:
        if remove_orphans:
            _remove_orphans(lake, 72.0 if older_than is None else older_than, force=force, dry_run=dry_run, yes=yes)
            return
        if orphans:
            files = lake.backend.orphans(24.0 if older_than is None else older_than)
            show_list(files, _ORPHANS, none="Every file belongs to a snapshot.")
            raise typer.Exit(DOCTOR_WARNING if files else 0)
        findings = lake.backend.examine()
    show_list(findings, _FINDINGS, none="There was nothing to check.")
    raise typer.Exit(_worst(findings))


def _remove_orphans(lake: Lake, hours: float, *, force: bool, dry_run: bool, yes: bool) -> None:
    found = lake.backend.remove_orphans(older_than_hours=hours)
    consequence = f"{_amount(found)} that belong to no snapshot would be removed."
    if go_ahead(consequence, dry_run=dry_run, yes=yes or not found.files):
        done = lake.backend.remove_orphans(older_than_hours=hours, dry_run=False, force=force)
        show_outcome(f"Removed {_amount(done)}.", done, _REMOVAL)


def _amount(removal: OrphanRemoval) -> str:
    unfinished = f", {removal.unfinished} unfinished" if removal.unfinished else ""
    return f"{counted(removal.files, 'file')} ({counted(removal.bytes, 'byte')}{unfinished})"


def _worst(findings: Sequence[Finding]) -> int:
    verdicts = {finding.verdict for finding in findings}
    return DOCTOR_ERROR if "error" in verdicts else DOCTOR_WARNING if "warning" in verdicts else 0


@command(
    app,
    "sql",
    example=(
        "cordillera sql 'SELECT origin, count(*) AS flights FROM flights.flights GROUP BY origin'\n"
        "cordillera sql --as-of sales.orders=41 --to report.parquet - < report.sql"
    ),
)
def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT in DuckDB's dialect; - for stdin.")],
    as_of: Annotated[
        list[str] | None,
        typer.Option(
            "--as-of",
            metavar="DATASET=WHEN",
            help="Read a dataset as it was: sequence number, time, or date (the end of that day in UTC).",
        ),
    ] = None,
    limit: RowLimit = None,
    to: ToFile = None,
) -> None:
    """Run a SELECT whose tables are datasets, written namespace.dataset."""
    from cordillera.cli.rows import deliver_rows

    moments = parse_pairs(as_of or [], "moment")
    text = read_text(Path("-")) if query == "-" else query
    with open_lake() as lake:
        deliver_rows(lake.backend.query(text, moments), to=to, limit=limit)
