"""How deliveries get at the files of tables in somebody else's catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cordillera.adapters.storage import build_storage
from cordillera.errors import InvalidConfigurationError
from cordillera.ports.storage import Storage

_WORDS = {
    "s3.endpoint": "endpoint",
    "client.region": "region",
    "s3.region": "region",
    "s3.access-key-id": "access_key",
    "s3.secret-access-key": "secret_key",
    "s3.session-token": "session_token",
}
"""What catalogs call the settings of our storage; the later of two goes before."""
_KEYS = ("access_key", "secret_key", "session_token")


@dataclass(frozen=True, slots=True)
class FileAccess:
    """What a target's settings say of file access; it goes before what a catalog says.

    Attributes:
        settings: Endpoint and region.
        keys: Return the target's own keys; none for those that a catalog gives out.
        local: Whether the catalog is on this machine, and so may lead to its files.
    """

    settings: Mapping[str, str]
    keys: Mapping[str, Callable[[], str]] = field(repr=False)
    local: bool = False

    def storage_for(self, location: str, told: Mapping[str, str]) -> Storage:
        """Open the storage of a table's location.

        Args:
            location: The location.
            told: What the catalog says, in the words of Iceberg's file access.

        Raises:
            InvalidConfigurationError: If a catalog elsewhere leads to files of this machine.
        """
        if not location.startswith("s3://"):
            if not self.local:
                raise InvalidConfigurationError(
                    f"The catalog keeps its table in {location}, where this machine cannot write for it.",
                    hint="Only a catalog on this machine may lead to its files; others need an object store.",
                )
            return build_storage(location, {})
        options = {ours: told[theirs] for theirs, ours in _WORDS.items() if told.get(theirs)}
        if self.keys:
            options = {name: value for name, value in options.items() if name not in _KEYS}
            options |= {name: read() for name, read in self.keys.items()}
        if told.get("s3.path-style-access"):
            options["path_style"] = told["s3.path-style-access"]
        return build_storage(location, {**options, **self.settings})
