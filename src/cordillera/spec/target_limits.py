"""How much a target is given at once: what its settings say of the load that deliveries may put on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from cordillera.errors import InvalidConfigurationError

_MOST = 10**12


@dataclass(frozen=True, slots=True)
class TargetLimits:
    """What targets of every kind may set.

    Attributes:
        deliveries_at_once: How many tasks, of all workers, may work on the target at the same time; None for as many as
            its kind takes well.
        rows_per_second: Most rows that are sent to it, of all deliveries together; None for no limit.
        bytes_per_second: Most bytes of rows, as they are in Arrow; None for no limit.
    """

    deliveries_at_once: int | None = None
    rows_per_second: int | None = None
    bytes_per_second: int | None = None

    @property
    def are_rates(self) -> bool:
        """Whether a rate is limited."""
        return self.rows_per_second is not None or self.bytes_per_second is not None

    def seconds_for(self, rows: int, size: int, at_once: int) -> float:
        """Return how long one of several deliveries has to take for rows of so many bytes, each having its share."""
        by_rows = rows * at_once / self.rows_per_second if self.rows_per_second else 0.0
        by_size = size * at_once / self.bytes_per_second if self.bytes_per_second else 0.0
        return max(by_rows, by_size)


LIMITS = tuple(limit.name for limit in fields(TargetLimits))
"""The names of the settings."""


def limits_of(config: Mapping[str, str]) -> TargetLimits:
    """Return what a target's settings limit.

    Raises:
        InvalidConfigurationError: If a limit is no whole number that can be kept.
    """
    return TargetLimits(**{name: _number(name, config[name]) for name in LIMITS if config.get(name)})


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:20]) <= _MOST:
        raise InvalidConfigurationError(
            f"A target cannot have {text[:40]!r} {name.replace('_', ' ')}.",
            hint=f"Give a whole number from 1 to {_MOST:,}, or leave {name} out.",
        )
    return int(text)
