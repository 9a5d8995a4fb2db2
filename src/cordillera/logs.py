"""Logging: one line an event on stderr, for people on a terminal, as JSON elsewhere; secrets are taken out."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from cordillera.context import active

_SECRET_NAME = re.compile(r"(?i)(^|_)(password|passwd|secret|token|authorization|cookie|api_?key|secret_key)$")
_REDACTIONS = (
    (re.compile(r"cdl_[A-Za-z0-9_\-]+"), "cdl_…"),
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]*://[^/\s:@\"']*):[^/\s@\"']+@"), r"\1:…@"),
    (re.compile(r"(?i)\b(password|passwd|secret_key|secret)(\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s,;&'\"]+)"), r"\1\2…"),
    (re.compile(r"(?i)\b(bearer)\s+[^\s'\",]+"), r"\1 …"),
)
_SUSPECT = re.compile(r"(?i)cdl_|://|passw|secret|bearer")
"""What texts have that any of these patterns fits: nearly none have it, and to look once is cheaper."""


def configure_logging(json: bool | None = None, level: int = logging.INFO) -> None:
    """Send everything that is logged, by this package and by others, to stderr.

    Args:
        json: Write JSON; by default, unless stderr is a terminal.
        level: What is less important is left out.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_context,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))  # it announces every look at the schema
    logging.getLogger("stamina").setLevel(max(level, logging.ERROR))  # a commit that lost a race is simply repeated
    logging.getLogger("snowflake").setLevel(max(level, logging.WARNING))  # it announces every connection


def add_context(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the trace and the principal of the request at hand to a line, unless it names others."""
    context = active()
    if context is not None:
        event.setdefault("trace_id", context.trace_id)
        event.setdefault("principal", context.principal)
    return event


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Take tokens and passwords out of a line, wherever in it they are."""
    return {name: _redacted(value, name) for name, value in event.items()}


def redact_text(text: str) -> str:
    """Return text without the tokens and passwords in it."""
    if not _SUSPECT.search(text):
        return text
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text


def _redacted(value: Any, name: str = "") -> Any:
    if _is_secret(name) and value is not None:
        return "…"
    match value:
        case str():
            return redact_text(value)
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return {key: _redacted(item, str(key)) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(item) for item in value]
        case _:
            return value if name.startswith("_") else redact_text(str(value))


@lru_cache(maxsize=1000)
def _is_secret(name: str) -> bool:
    """Tell whether what has a name is a secret; names hardly ever change."""
    return _SECRET_NAME.search(name) is not None
