"""What the tests of access share."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import conninfo, sql

from cordillera.adapters.db import open_metadata_store
from cordillera.ports.metadata import MetadataStore


@pytest.fixture(scope="module")
def postgres_store(postgres_server: str) -> Iterator[MetadataStore]:
    """A store in a fresh database of a real PostgreSQL."""
    name = f"access_{uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    parts = conninfo.conninfo_to_dict(postgres_server)
    store = open_metadata_store(f"postgresql://{parts['user']}@/{name}?host={parts['host']}")
    store.migrate()
    yield store
    store.close()
