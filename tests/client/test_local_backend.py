"""An embedded lake does what every lake must."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cordillera.app import Application
from cordillera.client.local import LocalBackend
from cordillera.testing.backend_suite import CatalogSuite, RowsSuite
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


class TestLocalWork(Local, WorkSuite):
    pass
