"""Secrets that settings name: they are in environment variables, and kept nowhere."""

from __future__ import annotations

import os

from cordillera.errors import InvalidConfigurationError


def read_secret(variable: str) -> str:
    """Return what an environment variable holds.

    Raises:
        InvalidConfigurationError: If it is not set.
    """
    secret = os.environ.get(variable)
    if not secret:
        raise InvalidConfigurationError(
            f"The environment variable {variable!r}, which should hold a secret, is not set.",
            hint="Set it for the processes that deliver, or change the setting that names it.",
        )
    return secret
