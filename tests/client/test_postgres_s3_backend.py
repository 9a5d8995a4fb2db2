"""A lake with its metadata on PostgreSQL and its data on S3 does what every lake must, as in production."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import conninfo, sql

from cordillera.app import Application, create_lake
from cordillera.client.local import LocalBackend
from cordillera.testing.backend_branch_suite import BranchSuite
from cordillera.testing.backend_catalog_suite import CatalogSuite
from cordillera.testing.backend_completion_suite import CompletionSuite
from cordillera.testing.backend_past_suite import PastSuite
from cordillera.testing.backend_rows_suite import RowsSuite
from cordillera.testing.backend_subscription_suite import SubscriptionSuite
from cordillera.testing.backend_work_suite import WorkSuite
from cordillera.worker import Worker
from tests.servers_s3 import S3Server


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: S3Server) -> Iterator[Application]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    parts, folder = conninfo.conninfo_to_dict(postgres_server), tmp_path_factory.mktemp("production")
    with create_lake(
        Path(folder) / "lake",
        metadata_url=f"postgresql://{parts['user']}@/{name}?host={parts['host']}",
        storage_root=f"s3://{s3_server.bucket}/{uuid4().hex}",
        s3_endpoint=s3_server.endpoint,
        s3_access_key=s3_server.access_key,
        s3_secret_key=s3_server.secret_key,
        s3_path_style="true",
    ) as app:
        yield app


class Production:
    @pytest.fixture
    def backend(self, app: Application) -> LocalBackend:
        return LocalBackend(app)

    @pytest.fixture
    def work(self, app: Application) -> Callable[[], int]:
        return Worker(app).run_until_idle


class TestProductionCatalog(Production, CatalogSuite):
    pass


class TestProductionRows(Production, RowsSuite):
    pass


class TestProductionCompletions(Production, CompletionSuite):
    pass


class TestProductionSubscriptions(Production, SubscriptionSuite):
    pass


class TestProductionWork(Production, WorkSuite):
    pass


class TestProductionBranches(Production, BranchSuite):
    pass


class TestProductionPast(Production, PastSuite):
    pass
