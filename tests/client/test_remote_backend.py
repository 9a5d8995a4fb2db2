"""A lake behind a real server does what every lake must."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cordillera.app import Application
from cordillera.client.remote import RemoteBackend
from cordillera.errors import InvalidConfigurationError, TargetNotFoundError
from cordillera.testing.backend_access_suite import AccessSuite
from cordillera.testing.backend_advice_suite import AdviceSuite
from cordillera.testing.backend_branch_suite import BranchSuite
from cordillera.testing.backend_catalog_suite import CatalogSuite
from cordillera.testing.backend_change_suite import ChangeSuite
from cordillera.testing.backend_completion_suite import CompletionSuite
from cordillera.testing.backend_evolution_suite import EvolutionSuite
from cordillera.testing.backend_maintenance_suite import MaintenanceSuite
from cordillera.testing.backend_merge_suite import MergeSuite
from cordillera.testing.backend_past_suite import PastSuite
from cordillera.testing.backend_rename_suite import RenameSuite
from cordillera.testing.backend_rows_suite import RowsSuite
from cordillera.testing.backend_statistics_suite import StatisticsSuite
from cordillera.testing.backend_subscription_suite import SubscriptionSuite
from cordillera.testing.backend_transaction_suite import TransactionSuite
from cordillera.testing.backend_view_suite import ViewSuite
from cordillera.testing.backend_work_suite import WorkSuite
from cordillera.worker import Worker


class Remote:
    @pytest.fixture
    def backend(self, url: str, token: str) -> Iterator[RemoteBackend]:
        backend = RemoteBackend(url, token)
        yield backend
        backend.close()

    @pytest.fixture
    def work(self, app: Application) -> Callable[[], int]:
        return Worker(app).run_until_idle


class TestRemoteCatalog(Remote, CatalogSuite):
    pass


class TestRemoteRows(Remote, RowsSuite):
    pass


class TestRemoteMerges(Remote, MergeSuite):
    pass


class TestRemoteCompletions(Remote, CompletionSuite):
    pass


class TestRemoteSubscriptions(Remote, SubscriptionSuite):
    pass


class TestRemoteWork(Remote, WorkSuite):
    pass


class TestRemoteRenames(Remote, RenameSuite):
    pass


class TestRemoteViews(Remote, ViewSuite):
    pass


class TestRemoteChanges(Remote, ChangeSuite):
    pass


class TestRemoteBranches(Remote, BranchSuite):
    pass


class TestRemotePast(Remote, PastSuite):
    pass


class TestRemoteTransactions(Remote, TransactionSuite):
    pass


class TestRemoteEvolution(Remote, EvolutionSuite):
    pass


class TestRemoteAdvice(Remote, AdviceSuite):
    pass


class TestRemoteMaintenance(Remote, MaintenanceSuite):
    pass


class TestRemoteAccess(Remote, AccessSuite):
    pass


class TestRemoteStatistics(Remote, StatisticsSuite):
    pass


def test_a_server_takes_no_relative_path_of_a_target(url: str, token: str) -> None:
    backend = RemoteBackend(url, token)
    for path in ("t.duckdb", "~/t.duckdb"):
        with pytest.raises(InvalidConfigurationError, match="relative"):
            backend.create_target("relative", "duckdb", {"path": path})
    with pytest.raises(TargetNotFoundError):
        backend.target("relative")
    backend.close()
