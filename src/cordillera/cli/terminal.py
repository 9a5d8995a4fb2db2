"""Talking to the person at the terminal: messages, progress and questions, all on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from cordillera.cli.session import current_session
from cordillera.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDE = 100_000


def console(*, stderr: bool = False) -> Console:
    """Return a rich console; into a file or pipe it writes every line in full, without colours."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else _WIDE,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not stream.isatty(),
    )


def print_rich(renderable: RenderableType) -> None:
    """Print something that rich lays out on stdout; into a file or pipe without the padding behind lines."""
    target = console()
    if target.is_terminal:
        target.print(renderable)
        return
    with target.capture() as captured:
        target.print(renderable)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def announce(message: str) -> None:
    """Tell the person something that is not the result, unless they want quiet."""
    if not current_session().quiet:
        print(message, file=sys.stderr)


def warn(message: str) -> None:
    """Tell the person something they should not miss, unless they want quiet."""
    announce(f"Warning: {message}")


@contextmanager
def progress(description: str, unit: str = "rows") -> Iterator[Callable[[int], None]]:
    """Show how far a piece of work is, on a terminal only.

    Yields:
        A function that takes how many units have been done since it was called last.
    """
    if current_session().quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,} " + unit))
    with Progress(*columns, TimeElapsedColumn(), console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda count: bar.advance(task, count)


def go_ahead(consequence: str, *, dry_run: bool, yes: bool) -> bool:
    """Return whether to do something that is hard to undo.

    Args:
        consequence: What would happen, as a sentence.
        dry_run: Only say it, on stdout.
        yes: Do it without asking.

    Raises:
        InvalidInputError: If nobody has confirmed it and nobody can be asked.
    """
    if dry_run:
        print(consequence)
        announce("Nothing was changed (--dry-run).")
        return False
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInputError(
            f"This needs to be confirmed, and there is no terminal to ask at. {consequence}",
            hint="Add --yes to go ahead; --dry-run only says what would happen.",
        )
    # not click's confirm, which writes the end of its question to stdout, where only results belong
    print(f"{consequence} Go ahead? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        announce("Nothing was changed.")
        raise typer.Exit(1)
    return True
