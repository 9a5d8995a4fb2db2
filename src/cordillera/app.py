"""The composition root: the only place that knows which adapter stands behind which port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from cordillera.access.service import AccessService
from cordillera.adapters.db import open_metadata_store
from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.storage import build_storage
from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.catalog.commits import CommitService
from cordillera.catalog.queries import QueryService
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.catalog.writes import WriteService
from cordillera.completion.service import CompletionService
from cordillera.contracts.service import ContractService
from cordillera.errors import AlreadyExistsError, InvalidConfigurationError
from cordillera.lineage.service import LineageService
from cordillera.operations.doctor import DoctorService
from cordillera.operations.service import EventHandler, LeaseTerms, OperationsService, TaskHandler
from cordillera.ports.clock import Clock, SystemClock
from cordillera.ports.metadata.operations import LakeInfo
from cordillera.settings import SETTINGS_FILE, Settings, load_settings, make_settings, write_settings_file
from cordillera.spec.event import Topic
from cordillera.subscriptions.delivery import DeliveryService
from cordillera.subscriptions.handlers import DELIVER, WITHDRAW, on_dataset_moved
from cordillera.subscriptions.service import SubscriptionService, SynchronizerFactory
from cordillera.table.io import TableIO
from cordillera.workflows.execution import RunService
from cordillera.workflows.handlers import RUN, on_partition_completed
from cordillera.workflows.service import WorkflowService

_EVENT_HANDLERS: Mapping[Topic, Sequence[EventHandler]] = {
    Topic.SNAPSHOT_COMMITTED: [on_dataset_moved],
    Topic.SCHEMA_CHANGED: [on_dataset_moved],
    Topic.PARTITION_COMPLETED: [on_partition_completed],
}


class Application:
    """One lake with everything it can do, in this process.

    Args:
        settings: Where the lake is.
        clock: Time and ids.
        synchronizers: Builds the synchronizers of targets.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        synchronizers: SynchronizerFactory = build_synchronizer,
    ) -> None:
        self.settings = settings
        self.clock = clock = clock or SystemClock()
        self.store = store = open_metadata_store(settings.metadata_url.get_secret_value())
        self.storage = build_storage(settings.storage_root, settings.storage_options())
        self.engine = engine = DuckDBEngine(settings.memory_limit, settings.threads)
        self.tables = tables = TableService(store, TableIO(self.storage, engine, clock))
        self.catalog = catalog = CatalogService(store, tables, clock)
        self.contracts = ContractService(store, tables, engine, clock)
        guards = (self.contracts,)
        self.commits = CommitService(store, tables, clock, guards)
        self.writes = WriteService(store, catalog, tables, self.commits, guards)
        self.queries = QueryService(catalog, tables, engine)
        self.completions = CompletionService(store, catalog)
        self.subscriptions = SubscriptionService(store, catalog, tables, synchronizers, clock)
        self.deliveries = DeliveryService(store, tables, engine, synchronizers, clock)
        self.workflows = WorkflowService(store, catalog, self.queries, clock)
        self.runs = RunService(store, catalog, self.queries, self.writes, clock)
        self.lineage = LineageService(store)
        self.access = AccessService(store, clock)
        self.doctor = DoctorService(store, catalog, tables, self.subscriptions, clock)
        self.operations = OperationsService(
            store,
            clock,
            _EVENT_HANDLERS,
            self._task_handlers(),
            LeaseTerms.of_seconds(settings.lease_seconds),
        )

    def _task_handlers(self) -> Mapping[str, TaskHandler]:
        """Return who does which kind of task."""

        def deliver(payload: Mapping[str, Any]) -> None:
            self.deliveries.deliver(UUID(payload["subscription_id"]))

        def withdraw(payload: Mapping[str, Any]) -> None:
            self.deliveries.withdraw(UUID(payload["subscription_id"]), keep_rows=payload["keep_rows"])

        def run(payload: Mapping[str, Any]) -> None:
            self.runs.execute(payload["job"], payload["partition"])

        return {DELIVER: deliver, WITHDRAW: withdraw, RUN: run}

    def lake(self) -> LakeInfo:
        """Return the lake's id, name and place."""
        with self.store.read() as tx:
            info = tx.lake.get()
        if info is None:
            raise InvalidConfigurationError(
                "The metadata database describes no lake.", hint="Create one with: cordillera init."
            )
        return info

    def close(self) -> None:
        """Release connections, memory and temporary files."""
        self.store.close()
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_lake(
    path: str | Path, clock: Clock | None = None, synchronizers: SynchronizerFactory = build_synchronizer
) -> Application:
    """Open the lake in a folder.

    Raises:
        LakeNotFoundError: If there is none.
        SchemaTooNewError: If a newer release has written it.
    """
    app = Application(load_settings(Path(path)), clock, synchronizers)
    try:
        app.store.check_schema()
        app.lake()
    except BaseException:
        app.close()
        raise
    return app


def create_lake(
    path: str | Path,
    *,
    name: str = "lake",
    metadata_url: str = "",
    storage_root: str = "",
    clock: Clock | None = None,
    **further: str,
) -> Application:
    """Create a lake in a folder, by default on SQLite and local files inside it.

    Raises:
        AlreadyExistsError: If there is a lake in the folder, or in the database.
    """
    folder = Path(path)
    if (folder / SETTINGS_FILE).exists():
        raise AlreadyExistsError(f"There is a lake in {folder} already.", hint="Use it, or choose another folder.")
    values = {"name": name, "metadata_url": metadata_url, "storage_root": storage_root, **further}
    values = {key: value for key, value in values.items() if value}
    folder.mkdir(parents=True, exist_ok=True)
    app = Application(make_settings(folder, dict(values)), clock)
    try:
        app.store.migrate()
        info = LakeInfo(app.clock.new_id(), name, app.storage.root, app.clock.now())
        with app.store.write() as tx:
            tx.lake.put(info)
        write_settings_file(folder, values)
    except BaseException:
        app.close()
        raise
    return app
