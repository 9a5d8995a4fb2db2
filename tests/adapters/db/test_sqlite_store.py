from __future__ import annotations

from collections.abc import Iterator

import pytest

from cordillera.adapters.db import open_metadata_store
from cordillera.ports.metadata import MetadataStore
from cordillera.testing.metadata_suite import MetadataSuite


class TestSqliteStore(MetadataSuite):
    @pytest.fixture
    def store(self, sqlite_url: str) -> Iterator[MetadataStore]:
        store = open_metadata_store(sqlite_url)
        yield store
        store.close()
