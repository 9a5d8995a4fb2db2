"""What every metadata store must do, as tests. Needs pytest.

Subclass :class:`MetadataSuite` in a test module and provide the fixture ``store``::

    class TestMyStore(MetadataSuite):
        @pytest.fixture
        def store(self):
            store = MyStore("an empty database")
            store.migrate()
            yield store
            store.close()
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cordillera.ports.metadata import MetadataStore
from cordillera.testing.metadata_catalog_suite import CatalogSuite
from cordillera.testing.metadata_completion_suite import CompletionSuite
from cordillera.testing.metadata_contract_suite import ContractSuite
from cordillera.testing.metadata_load_suite import LoadSuite
from cordillera.testing.metadata_operations_suite import OperationsSuite
from cordillera.testing.metadata_races_suite import RacesSuite
from cordillera.testing.metadata_scan_suite import ScanSuite
from cordillera.testing.metadata_search_suite import SearchSuite
from cordillera.testing.metadata_subscription_suite import SubscriptionSuite
from cordillera.testing.metadata_view_suite import ViewSuite
from cordillera.testing.metadata_work_suite import WorkSuite


class MetadataSuite(
    CatalogSuite,
    ContractSuite,
    ViewSuite,
    SearchSuite,
    CompletionSuite,
    SubscriptionSuite,
    WorkSuite,
    OperationsSuite,
    LoadSuite,
    ScanSuite,
    RacesSuite,
):
    """The behaviour of the metadata store port. Every test needs an empty, migrated store of its own."""

    @pytest.fixture
    def store(self) -> Iterator[MetadataStore]:
        """Return the store to test."""
        raise NotImplementedError("Override the fixture 'store' in the subclass.")
