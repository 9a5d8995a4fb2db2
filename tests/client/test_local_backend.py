"""An embedded lake does what every lake must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cordillera.app import Application
from cordillera.client.local import LocalBackend
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


class Local:
    @pytest.fixture
    def backend(self, app: Application) -> LocalBackend:
        return LocalBackend(app)

    @pytest.fixture
    def work(self, app: Application) -> Callable[[], int]:
        return Worker(app).run_until_idle


class TestLocalCatalog(Local, CatalogSuite):
    pass


class TestLocalRows(Local, RowsSuite):
    pass


class TestLocalMerges(Local, MergeSuite):
    pass


class TestLocalCompletions(Local, CompletionSuite):
    pass


class TestLocalSubscriptions(Local, SubscriptionSuite):
    pass


class TestLocalWork(Local, WorkSuite):
    pass


class TestLocalRenames(Local, RenameSuite):
    pass


class TestLocalViews(Local, ViewSuite):
    pass


class TestLocalChanges(Local, ChangeSuite):
    pass


class TestLocalBranches(Local, BranchSuite):
    pass


class TestLocalPast(Local, PastSuite):
    pass


class TestLocalTransactions(Local, TransactionSuite):
    pass


class TestLocalEvolution(Local, EvolutionSuite):
    pass


class TestLocalAdvice(Local, AdviceSuite):
    pass


class TestLocalMaintenance(Local, MaintenanceSuite):
    pass


class TestLocalAccess(Local, AccessSuite):
    pass


class TestLocalStatistics(Local, StatisticsSuite):
    pass


def test_a_relative_path_of_a_target_counts_from_the_callers_directory(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = LocalBackend(app).create_target("relative", "duckdb", {"path": "t.duckdb"})
    assert target.config == {"path": str(tmp_path / "t.duckdb")}
    monkeypatch.chdir("/")
    LocalBackend(app).check_target("relative")
