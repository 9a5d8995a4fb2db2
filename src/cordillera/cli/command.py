"""Registering commands, with the options that every command shares.

The shared options are accepted before the noun and behind the verb: ``cordillera --output json dataset list`` is
``cordillera dataset list --output json``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from cordillera.cli.session import OutputFormat, Session, configure_logging, use_session
from cordillera.errors import InvalidConfigurationError

_P = ParamSpec("_P")


class Place(Enum):
    """Which lakes a command can work on; the value names the shared options it has for that."""

    ANYWHERE = ("lake", "url", "token_file")
    SERVER = ("url",)
    FOLDER = ("lake",)
    NOWHERE = ()


def _option(kind: Any, default: Any, text: str, *names: str, **further: Any) -> tuple[Any, Any]:
    variable = f"CORDILLERA_{names[0].strip('-').replace('-', '_').upper()}"
    return Annotated[
        kind, typer.Option(*names, envvar=variable, help=text, rich_help_panel="Lake and output", **further)
    ], default


_SHARED: Mapping[str, tuple[Any, Any]] = {
    "lake": _option(
        Path | None,
        None,
        "The lake's folder; by default this folder or the nearest one above it that holds a lake.",
        "--lake",
        metavar="PATH",
    ),
    "url": _option(
        str,
        "",
        "The lake's server, instead of a folder. The token comes from CORDILLERA_TOKEN, --token-file or login.",
        "--url",
        metavar="URL",
        show_default=False,
    ),
    "token_file": _option(
        Path | None, None, "File that holds the API token for the server.", "--token-file", metavar="FILE"
    ),
    "output": _option(OutputFormat, OutputFormat.TABLE, "How results are shown on stdout.", "--output", "-o"),
    "quiet": _option(bool, False, "Show results and errors only: no messages, no progress.", "--quiet", "-q"),
    "debug": _option(bool, False, "Show detailed logs, and the traceback of an error.", "--debug"),
}


def command(
    app: typer.Typer, name: str, *, example: str, place: Place = Place.ANYWHERE
) -> Callable[[Callable[_P, None]], Callable[_P, None]]:
    """Register a function as a command of ``app``; its docstring is the help text.

    Args:
        app: The noun, or the root.
        name: The verb.
        example: Command lines shown below the help text, one a line.
        place: Which lakes it can work on, and so which shared options it has.
    """
    shared = (*place.value, "output", "quiet", "debug")

    def register(function: Callable[_P, None]) -> Callable[_P, None]:
        @wraps(function)
        def run(context: typer.Context, **arguments: Any) -> None:
            use_session(_session(context, {option: arguments.pop(option) for option in shared}, place))
            configure_logging()
            function(**arguments)  # type: ignore[call-arg]
            sys.stdout.flush()

        run.__signature__ = _extended(function, shared)  # type: ignore[attr-defined]  # typer reads it
        noun = app.info.name if isinstance(app.info.name, str) else ""
        prefix = "_".join(["cordillera", *filter(None, [noun]), name]).upper()
        app.command(name, epilog=_as_epilog(example), context_settings={"auto_envvar_prefix": prefix})(run)
        return function

    return register


def root_options(function: Callable[_P, None]) -> Callable[..., None]:
    """Give the root callback the shared options, so that they may stand before the noun as well."""

    @wraps(function)
    def run(context: typer.Context, **arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in _SHARED}
        context.obj = {name: value for name, value in given.items() if _is_typed(context, name)}
        function(**arguments)  # type: ignore[call-arg]

    run.__signature__ = _extended(function, tuple(_SHARED))  # type: ignore[attr-defined]  # typer reads it
    return run


def _extended(function: Callable[..., None], shared: tuple[str, ...]) -> inspect.Signature:
    """Return a function's signature with the context and shared options added; Typer reads options from it."""
    signature = inspect.signature(function, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [parameter.replace(kind=keyword) for parameter in signature.parameters.values()]
    for option in (extra for parameter in own for extra in getattr(parameter.annotation, "__metadata__", ())):
        option.show_envvar = False  # the help of the root says how the variables are called
    added = [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
        if name in shared
    ]
    return signature.replace(parameters=[inspect.Parameter("context", keyword, annotation=typer.Context), *own, *added])


def _as_epilog(example: str) -> str:
    lines = [line.replace("[", r"\[") for line in example.splitlines()]
    return "\n".join(["[bold]Example[/bold]", *(f"  [cyan]{line}[/cyan]" for line in lines)])


def _session(context: typer.Context, given: Mapping[str, Any], place: Place) -> Session:
    """Merge the options behind the verb with those typed before the noun; what was typed beats the environment."""
    values, typed = dict(given), {name for name in given if _is_typed(context, name)}
    before: Mapping[str, Any] = context.obj or {}
    for name, value in before.items():
        if name in given and name not in typed:
            values[name] = value
            typed.add(name)
    if place is Place.FOLDER and "url" in before:
        raise InvalidConfigurationError(
            f"'{context.command_path}' works in the lake's folder and does not take --url.", hint="Use --lake."
        )
    if place is Place.SERVER and "lake" in before:
        raise InvalidConfigurationError(
            f"'{context.command_path}' is about a server and does not take --lake.", hint="Use --url."
        )
    if place is Place.ANYWHERE and values["lake"] is not None and values["url"]:
        _choose_place(values, typed & {"lake", "url"})
    return Session(**values)


def _choose_place(values: dict[str, Any], typed: set[str]) -> None:
    """Let what was typed decide between a folder and a server that are both named."""
    if len(typed) != 1:
        raise InvalidConfigurationError(
            "Both a lake's folder and a lake's server are named, by --lake and --url or by CORDILLERA_LAKE and "
            "CORDILLERA_URL.",
            hint="Name one of them.",
        )
    values["url" if typed == {"lake"} else "lake"] = "" if typed == {"lake"} else None


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
