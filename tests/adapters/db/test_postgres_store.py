from __future__ import annotations

from collections.abc import Iterator

import pytest

from cordillera.adapters.db import open_metadata_store
from cordillera.ports.metadata import MetadataStore
from cordillera.testing.metadata_samples import namespace
from cordillera.testing.metadata_suite import MetadataSuite


class TestPostgresStore(MetadataSuite):
    @pytest.fixture
    def store(self, postgres_url: str) -> Iterator[MetadataStore]:
        store = open_metadata_store(postgres_url)
        yield store
        store.close()

    def test_a_query_by_itself_sees_what_was_committed_before_it(self, store: MetadataStore) -> None:
        with store.read_once() as asking:
            assert asking.namespaces.get("sales") is None
            with store.write() as tx:
                tx.namespaces.insert(made := namespace("sales"))
            assert asking.namespaces.get("sales") == made
