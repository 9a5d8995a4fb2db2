"""The metadata store on SQLite and PostgreSQL."""

from __future__ import annotations

from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.ports.metadata import MetadataStore


def open_metadata_store(url: str) -> MetadataStore:
    """Return the metadata store of a URL; nothing is connected yet.

    Args:
        url: ``sqlite:///path/lake.db`` or ``postgresql://user:password@host/database``.

    Raises:
        InvalidConfigurationError: If the URL names no such database.
        MissingExtraError: If the driver is not installed.
    """
    return SqlMetadataStore(url)


__all__ = ["open_metadata_store"]
