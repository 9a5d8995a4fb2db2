"""The lake as people work with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from cordillera.catalog.new_table import TableOptions
from cordillera.client.access_asking import AccessAsking
from cordillera.client.access_control import AccessControl
from cordillera.client.backend import LakeBackend
from cordillera.client.contract_proposals import LakeContractProposals
from cordillera.client.dataset import Dataset
from cordillera.client.deputies import Deputies
from cordillera.client.destination import Destinations
from cordillera.client.namespace import Namespace
from cordillera.client.schemas import as_schema
from cordillera.client.transaction import Transaction
from cordillera.client.view import View, views_of
from cordillera.errors import InvalidInputError, NotAllowedError
from cordillera.maintenance.results import OrphanRemoval
from cordillera.operations.audit import AuditExport
from cordillera.spec import catalog as catalog_spec
from cordillera.spec.as_of import AsOf
from cordillera.spec.audit_chain import AUDIT_DATASET, AuditVerification
from cordillera.spec.contract import key_of, parse_contract, partition_columns_of, to_arrow_schema
from cordillera.spec.durations import in_hours
from cordillera.spec.event import Event, WorkDone
from cordillera.spec.external_schema import DEFAULT_ROLE, ExternalSchema
from cordillera.spec.job_trigger import UNMAPPED, JobTrigger
from cordillera.spec.subscription import Target
from cordillera.spec.workflow import Job, WantedJob


class Lake(AccessControl, AccessAsking, Deputies, LakeContractProposals, Destinations):
    """A lake. Made by ``cordillera.open``, ``cordillera.connect`` or ``cordillera.create``.

    Args:
        backend: Where it is.
    """

    def __init__(self, backend: LakeBackend) -> None:
        self.backend = backend

    # --- namespaces and datasets ---------------------------------------------------------------------------------

    def create_namespace(
        self, name: str, *, owner: str = "", description: str = "", properties: Mapping[str, str] | None = None
    ) -> Namespace:
        """Create a namespace."""
        self.backend.create_namespace(name, owner=owner, description=description, properties=properties)
        return Namespace(self.backend, name)

    def namespace(self, name: str) -> Namespace:
        """Return a namespace that exists."""
        return Namespace(self.backend, self.backend.namespace(name).name)

    def namespaces(self, parent: str | None = None) -> Iterator[Namespace]:
        """Yield the namespaces by name.

        Args:
            parent: Only those directly within this one; empty for those that are within none.
        """
        after = ""
        while page := self.backend.namespaces(after, parent=parent):
            yield from (Namespace(self.backend, found.name) for found in page)
            after = page[-1].name

    def create_dataset(
        self,
        name: str,
        schema: Any = None,
        *,
        contract: str | None = None,
        key: Sequence[str] = (),
        sequence: str | None = None,
        partitioning: Sequence[str] = (),
        sort_order: Sequence[str] = (),
        completion_unit: str = "whole",
        write_mode: str = "merge-on-read",
        merge: str = "latest-row-wins",
        aggregates: Mapping[str, str] | None = None,
        tracked: Sequence[str] = (),
        format_version: int = 3,
        properties: Mapping[str, str] | None = None,
        owner: str = "",
        description: str = "",
        tags: Sequence[str] = (),
    ) -> Dataset:
        """Create a dataset.

        Args:
            name: ``namespace.dataset``.
            schema: A schema of pyarrow or Polars, a frame of pyarrow, pandas or Polars to take it from, anything that
                exports an Arrow schema, or a dict of names and types.
            contract: An ODCS document; it gives schema, key and description, and is put in force at once.
            key: Columns that identify a row.
            sequence: Column that tells the later of two rows of a key.
            partitioning: Terms like ``month(time_hour)``.
            sort_order: Terms like ``ordered_at`` or ``amount desc`` that rows are sorted by within each file.
            completion_unit: whole, hour, day, week, month or value.
            write_mode: merge-on-read, copy-on-write, or auto, which decides for each file.
            merge: Which rows of a key are kept: latest-row-wins, first-row-wins, or all as a history: scd2, scd7.
            aggregates: Column → sum, max, min, first or last_non_null, how it combines what is written.
            tracked: Columns whose change opens a new row of a history; by default all.
            format_version: Iceberg's; 2 for clients that cannot read 3.
            properties: Further Iceberg table properties.
            owner, description, tags: For people.
        """
        parsed = parse_contract(contract) if contract is not None else None
        if parsed is None and schema is None:
            raise InvalidInputError(f"The dataset {name} needs a schema or a contract.", hint="Give one of them.")
        arrow = as_schema(schema) if schema is not None else to_arrow_schema(parsed)  # type: ignore[arg-type]
        options = TableOptions(
            key=tuple(key) or (key_of(parsed) if parsed else ()),
            sequence=sequence,
            partitioning=tuple(partitioning) or (partition_columns_of(parsed) if parsed else ()),
            sort_order=tuple(sort_order),
            completion_unit=completion_unit,
            write_mode=write_mode,
            merge=merge,
            aggregates=dict(aggregates or {}),
            tracked=tuple(tracked),
            format_version=format_version,
            properties=dict(properties or {}),
        )
        self.backend.create_dataset(
            name,
            arrow,
            options,
            owner=owner or (parsed.owner if parsed else ""),
            description=description or (parsed.description if parsed else ""),
            tags=tags,
        )
        if contract is not None:
            self.backend.put_contract(name, contract)
        return Dataset(self.backend, name)

    def dataset(self, name: str) -> Dataset:
        """Return a dataset by name. It is looked up when something is asked of it."""
        return Dataset(self.backend, name)

    def register_dataset(self, name: str, metadata_location: str) -> Dataset:
        """Make a table that lies in the lake's storage, and belongs to no dataset, one.

        Its snapshots are checked as commits are. The table of a deleted dataset brings back that one.

        Args:
            name: What to call it.
            metadata_location: The table's metadata file.
        """
        self.backend.register_dataset(name, metadata_location)
        return Dataset(self.backend, name)

    def restore_dataset(self, name: str) -> Dataset:
        """Bring back a deleted dataset."""
        self.backend.restore_dataset(name)
        return Dataset(self.backend, name)

    def create_view(
        self,
        name: str,
        sql: str,
        *,
        dialects: Mapping[str, str] | None = None,
        description: str | None = None,
        owner: str = "",
        replace: bool = False,
    ) -> View:
        """Create a view: a query that is read like a dataset, here and by engines that know Iceberg's views.

        Args:
            name: ``namespace.view``; no dataset may be called that.
            sql: One SELECT in DuckDB's dialect over datasets and views, written ``namespace.name``.
            dialects: The same in other dialects, for example ``{"spark": "SELECT …"}``.
            description: What it is about; None leaves it as it is.
            owner: Owner of a new view; empty takes the namespace's.
            replace: Whether a view of the name, if there is one, gets this definition.
        """
        self.backend.create_view(name, sql, dialects=dialects, description=description, owner=owner, replace=replace)
        return View(self.backend, name)

    def view(self, name: str) -> View:
        """Return a view by name. It is looked up when something is asked of it."""
        return View(self.backend, name)

    def views(self) -> Iterator[View]:
        """Yield the views by name."""
        yield from views_of(self.backend, None)

    def search(self, text: str = "", **filters: str) -> catalog_spec.SearchResult:
        """Find datasets by words, those that are called so first.

        ``namespace``, ``owner``, ``tag`` and ``lifecycle`` narrow the search.
        """
        return self.backend.search(text, filters)

    def transaction(self, message: str = "", *, idempotency_key: str | None = None) -> Transaction:
        """Begin writes to several datasets that are committed together, or not at all, at the end of a ``with`` block.

        ``with lake.transaction("close May") as tx: tx.write("a.orders", rows, "upsert"); tx.delete("a.open", keys)``

        Args:
            message: What it is about; snapshots, events and the audit log say it.
            idempotency_key: Repeating the transaction under the same key has no further effect.

        Raises:
            CordilleraError: At the end of the block, what a single write may raise; no dataset has changed then.
        """
        return Transaction(self.backend, message, idempotency_key)

    # --- asking --------------------------------------------------------------------------------------------------

    def sql(self, query: str, as_of: Mapping[str, AsOf] | None = None) -> pa.RecordBatchReader:
        """Run a SELECT whose tables are datasets and views, written ``namespace.name``, and stream its result.

        Args:
            query: In DuckDB's dialect.
            as_of: Dataset → the moment to read it as of, as in ``Dataset.scan``.

        Raises:
            InvalidSqlError, DatasetNotFoundError, SnapshotNotFoundError, InvalidInputError: As their names say.
        """
        return self.backend.query(query, as_of)

    def events(
        self,
        *,
        topics: Sequence[str] = (),
        within: Sequence[str] = (),
        after: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Event]:
        """Follow events: yield each as soon as workers have handled it, in order for each dataset version.

        Args:
            topics: Which events; by default all.
            within: Datasets, views and namespaces that they are about; by default all.
            after: The ``position`` of the last event that you have; by default only what comes from now on. What was
                handled before is there too, from position 0.
            timeout: Seconds in which nothing happens before it ends; None for ever.

        Raises:
            InvalidInputError: If there are no such topics or no such position.
        """
        return self.backend.follow_events(topics=topics, within=within, after=after, timeout=timeout)

    # --- targets and jobs ----------------------------------------------------------------------------------------

    def create_target(self, name: str, kind: str, **config: str) -> Target:
        """Configure a target, for example ``create_target("warehouse", "postgres", dsn="…")``.

        Args:
            name: What to call it.
            kind: postgres, redshift, clickhouse, mariadb, duckdb, iceberg, glue, snowflake_iceberg, snowflake, kafka,
                parquet, tsv, or one that an installed package adds.
            config: Its settings. A relative path of a DuckDB file counts from the working directory; a server takes
                whole paths only.

        Raises:
            InvalidConfigurationError: If the kind is unknown or a setting is missing, unknown or wrong.
            TargetUnreachableError: If it cannot be reached.
        """
        return self.backend.create_target(name, kind, config)

    def external_schema(
        self, target: str, name: str = "", *, iam_role: str = DEFAULT_ROLE, readers: Sequence[str] = ()
    ) -> list[str]:
        """Return the SQL by which a warehouse reads the tables that a target points at; nothing is executed.

        Amazon Redshift Spectrum reads those of a glue target, Snowflake those of a snowflake_iceberg target.

        Args:
            target: The target.
            name: What the external schema is to be called in Redshift; Snowflake's is among the target's settings.
            iam_role: ARN of the role that reads catalog and files; by default Redshift's own.
            readers: Roles of the warehouse that may read it.

        Raises:
            NotAllowedError: If it is another kind of target.
            InvalidNameError, InvalidInputError: If a name or the role cannot be.
        """
        return self.backend.external_schema(target, ExternalSchema(name, iam_role, tuple(readers)))

    def create_job(
        self,
        name: str,
        sql: str,
        *,
        output_condition: str,
        output: str = "",
        inputs: Sequence[str] = (),
        owner: str = "",
        description: str = "",
        trigger: JobTrigger = UNMAPPED,
    ) -> Job:
        """Create a job that runs when its inputs are complete; ``$partition`` is the partition's label.

        Args:
            name: ``namespace.name``.
            sql: A SELECT over datasets.
            output_condition: Which rows of the output belong to ``$partition``; a run replaces them.
            output: The dataset it writes; ``name`` by default.
            inputs: The datasets to wait for; by default those the query reads.
            owner: Owner; you by default.
            description: What it is for.
            trigger: Which partitions of its inputs a run needs, where they are not those of the same label; which
                partitions concern the job; and what becomes of those that are restated.
        """
        wanted = WantedJob(name, sql, output_condition, output, tuple(inputs), owner, description, trigger)
        return self.backend.create_job(wanted)

    # --- maintenance ---------------------------------------------------------------------------------------------

    def remove_orphans(
        self, older_than: timedelta = timedelta(days=3), *, dry_run: bool = True, force: bool = False
    ) -> OrphanRemoval:
        """Remove files that no snapshot refers to, left behind by writers that did not finish.

        Args:
            older_than: Younger files stay: a writer may be about to commit them.
            dry_run: Only say what would go, as by default.
            force: Allow an age below a day. Nobody must be writing then.
        """
        hours = in_hours(older_than)
        return self.backend.remove_orphans(older_than_hours=hours, dry_run=dry_run, force=force)

    # --- embedded work -------------------------------------------------------------------------------------------

    def verify_audit(self, head: str = "") -> AuditVerification:
        """Look whether the audit log is whole: no entry was changed, removed or put in since it was chained.

        Args:
            head: The ``head`` of an earlier look, kept elsewhere; it has to be part of the chain still.
        """
        return self.backend.verify_audit(head)

    def export_audit(self, dataset: str = AUDIT_DATASET) -> AuditExport:
        """Bring what is new in the audit log into a dataset, which is made if need be."""
        return self.backend.export_audit(dataset)

    @contextmanager
    def workers(self, count: int = 1) -> Iterator[None]:
        """Run background workers in this process for the length of the block (embedded lakes only)."""
        from cordillera.worker import workers

        with workers(self._application(), count):
            yield

    def run_pending(self) -> WorkDone:
        """Do all background work that is due, and what follows from it; return what was done (embedded only)."""
        from cordillera.worker import Worker

        return Worker(self._application()).run_until_idle()

    def _application(self) -> Any:
        application = getattr(self.backend, "app", None)
        if application is None:
            raise NotAllowedError(
                "This lake is behind a server, whose own workers do the work.",
                hint="Open the lake in its folder to work on it: cordillera worker.",
            )
        return application

    def close(self) -> None:
        """Release connections, memory and temporary files."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.backend.info()
        return f"Lake({info.name!r}, storage {info.storage_root})"

    def _repr_html_(self) -> str:
        info = self.backend.info()
        names = ", ".join(escape(namespace.name) for namespace in self.namespaces())
        return f"<b>{escape(info.name)}</b><br>namespaces: {names}<br>storage: {escape(info.storage_root)}"


def open(path: str | Path) -> Lake:
    """Open the lake in a folder, in this process. No server is needed.

    Raises:
        LakeNotFoundError: If there is none; ``cordillera.create`` makes one.
        InvalidConfigurationError: If a setting is wrong, or the folder was moved since the lake was made.
        SchemaTooNewError: If a newer release has written it.
    """
    from cordillera.app import open_lake
    from cordillera.client.local import LocalBackend

    return Lake(LocalBackend(open_lake(path)))


def create(path: str | Path, *, name: str = "lake", metadata_url: str = "", storage_root: str = "") -> Lake:
    """Create a lake in a folder, by default on SQLite and local files inside it, and open it.

    Args:
        path: The lake's folder; it is made if need be.
        name: The lake's name.
        metadata_url: The metadata database, ``sqlite:///path/lake.db`` or ``postgresql://user@host/database``.
        storage_root: Where data lives, a path or ``s3://bucket/folder``.

    What is given goes before environment variables, and is written into the lake's settings file. When the lake is
    opened, variables go before the file.

    Raises:
        AlreadyExistsError: If there is a lake in the folder, or in the database.
        InvalidConfigurationError: If a place cannot be one.
    """
    from cordillera.app import create_lake
    from cordillera.client.local import LocalBackend

    return Lake(LocalBackend(create_lake(path, name=name, metadata_url=metadata_url, storage_root=storage_root)))


def connect(url: str, token: str | None = None) -> Lake:
    """Connect to a lake's server.

    Args:
        url: Where it is, for example ``http://127.0.0.1:8470``.
        token: An API token; by default that of ``CORDILLERA_TOKEN``, or what ``cordillera login`` keeps.

    Raises:
        ServerUnreachableError: If it does not answer.
        AuthenticationError: If it does not know the token.
    """
    from cordillera.client.remote import RemoteBackend

    return Lake(RemoteBackend(url, token))
