"""A lake behind a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from time import monotonic
from uuid import UUID

import httpx2
import pyarrow as pa

from cordillera.access.service import NewToken
from cordillera.catalog.commits import CommitResult
from cordillera.catalog.new_table import TableOptions
from cordillera.catalog.requests import DatasetWrite
from cordillera.client.backend import ContractDetails, DatasetDetails, RunCount
from cordillera.client.branches import RemoteBranches
from cordillera.client.connection import Connection, path, segment_text
from cordillera.client.remote_maintenance import RemoteMaintenance
from cordillera.codec import LONGEST_WAIT_SECONDS, Page, decode, to_plain
from cordillera.errors import WaitTimeoutError
from cordillera.maintenance.results import Orphan
from cordillera.merge_codec import clauses_to_json
from cordillera.operations.doctor import Finding
from cordillera.ports.metadata.access import Token
from cordillera.ports.metadata.operations import LakeInfo
from cordillera.schema_codec import change_to_plain, schema_to_columns
from cordillera.spec.as_of import AsOf, as_of_to_text
from cordillera.spec.catalog import Dataset, Namespace, SearchResult, Snapshot
from cordillera.spec.completion import Completion, CompletionUnit, partition_label
from cordillera.spec.event import AuditEntry, Event, Task
from cordillera.spec.explanation import WriteExplanation
from cordillera.spec.lineage import LineageGraph, Node
from cordillera.spec.manifest import Manifest
from cordillera.spec.merge_clauses import MergeClause
from cordillera.spec.schema_evolution import SchemaChange
from cordillera.spec.subscription import Subscription, SubscriptionStatus, Target, Verification
from cordillera.spec.table_metadata import MAIN_BRANCH
from cordillera.spec.workflow import Job, Run, Waiting
from cordillera.transaction_codec import writes_to_json


class RemoteBackend(RemoteBranches, RemoteMaintenance):
    """Implements ``LakeBackend`` over the HTTP API.

    Args:
        url: Where the server is, for example ``http://127.0.0.1:8470``.
        token: An API token; by default the environment variable ``CORDILLERA_TOKEN``.
        transport: Carries the requests; for tests.

    Raises:
        ServerUnreachableError: If no server answers.
        AuthenticationError: If it does not know the token.
    """

    def __init__(self, url: str, token: str | None = None, transport: httpx2.BaseTransport | None = None) -> None:
        self._server = Connection(url, token, transport)
        try:
            self.info()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"RemoteBackend({self._server.url!r})"

    # --- the lake ------------------------------------------------------------------------------------------------

    def info(self) -> LakeInfo:
        """Return the lake's id, name and place."""
        return self._server.get(LakeInfo, "/lake")

    def examine(self, *, files: bool = True) -> list[Finding]:
        """Run the doctor's checks; without ``files`` all but the one that lists the storage."""
        return self._server.get(Page[Finding], "/lake/findings", files=files).items

    def orphans(self, older_than_hours: float = 24.0) -> list[Orphan]:
        """Return up to a thousand files that belong to no snapshot."""
        return self._server.get(Page[Orphan], "/lake/orphans", older_than_hours=older_than_hours).items

    def query(self, sql: str, as_of: Mapping[str, AsOf] | None = None) -> pa.RecordBatchReader:
        """Run a SELECT over datasets and stream its result."""
        moments = {name: as_of_to_text(moment) for name, moment in (as_of or {}).items() if moment is not None}
        return self._server.read_rows("POST", "/query", json={"sql": sql, "as_of": moments})

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    # --- namespaces ----------------------------------------------------------------------------------------------

    def create_namespace(self, name: str, *, owner: str = "", description: str = "") -> Namespace:
        """Create a namespace."""
        body = {"name": name, "owner": owner, "description": description}
        return self._server.post(Namespace, "/namespaces", body)

    def namespace(self, name: str) -> Namespace:
        """Return a namespace."""
        return self._server.get(Namespace, path("namespaces", name))

    def namespaces(self, after: str = "", limit: int = 100) -> list[Namespace]:
        """Return a page of namespaces."""
        return self._server.get(Page[Namespace], "/namespaces", after=after, limit=limit).items

    def update_namespace(self, name: str, *, owner: str | None = None, description: str | None = None) -> Namespace:
        """Change a namespace's owner or description."""
        body = {"owner": owner, "description": description}
        return self._server.post(Namespace, path("namespaces", name), body, method="PATCH")

    def delete_namespace(self, name: str) -> None:
        """Remove an empty namespace."""
        self._server.request("DELETE", path("namespaces", name))

    # --- datasets ------------------------------------------------------------------------------------------------

    def create_dataset(
        self,
        name: str,
        schema: pa.Schema,
        options: TableOptions,
        *,
        owner: str = "",
        description: str = "",
        tags: Sequence[str] = (),
    ) -> DatasetDetails:
        """Create a dataset."""
        body = {"name": name, "owner": owner, "description": description, "tags": list(tags)}
        return self._server.post(DatasetDetails, "/datasets", {**body, **_table(schema, options)})

    def create_dataset_version(
        self, name: str, schema: pa.Schema, options: TableOptions, *, active: bool = False
    ) -> DatasetDetails:
        """Create the next dataset version of a dataset."""
        address = path("datasets", name) + "/versions"
        return self._server.post(DatasetDetails, address, _table(schema, options), active=active)

    def dataset(self, name: str) -> DatasetDetails:
        """Return a dataset with one of its dataset versions."""
        return self._server.get(DatasetDetails, path("datasets", name))

    def datasets(
        self, namespace: str | None = None, after: str = "", limit: int = 100, *, deleted: bool = False
    ) -> list[Dataset]:
        """Return a page of datasets."""
        return self._server.get(
            Page[Dataset], "/datasets", namespace=namespace, after=after, limit=limit, deleted=deleted
        ).items

    def search(
        self, text: str = "", filters: Mapping[str, str] | None = None, after: str = "", limit: int = 50
    ) -> SearchResult:
        """Find datasets."""
        return self._server.get(
            SearchResult, "/search", **{**(filters or {}), "text": text, "after": after}, limit=limit
        )

    def update_dataset(
        self,
        name: str,
        *,
        owner: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Dataset:
        """Change a dataset's owner, description or tags."""
        body = {"owner": owner, "description": description, "tags": None if tags is None else list(tags)}
        return self._server.post(Dataset, path("datasets", name), body, method="PATCH")

    def set_lifecycle(self, name: str, lifecycle: str) -> DatasetDetails:
        """Change a dataset version's lifecycle."""
        address = path("datasets", name) + "/lifecycle"
        return self._server.post(DatasetDetails, address, {"lifecycle": lifecycle}, method="PUT")

    def delete_dataset(self, name: str) -> Dataset:
        """Delete a dataset; it can be restored for a week."""
        return self._server.post(Dataset, path("datasets", name), method="DELETE")

    def restore_dataset(self, name: str) -> Dataset:
        """Bring a deleted dataset back."""
        return self._server.post(Dataset, path("datasets", name) + "/restore")

    # --- rows ----------------------------------------------------------------------------------------------------

    def schema(self, name: str, as_of: AsOf = None) -> pa.Schema:
        """Return the Arrow schema of a dataset."""
        parameters = {"as_of": None if as_of is None else as_of_to_text(as_of)}
        address = path("datasets", name) + "/schema"
        return self._server.read_rows("GET", address, parameters=parameters).read_all().schema

    def scan(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        as_of: AsOf = None,
        limit: int | None = None,
    ) -> pa.RecordBatchReader:
        """Stream rows of a dataset."""
        parameters: dict[str, object] = {
            "columns": [""] if columns is not None and not columns else columns,
            "where": where,
            "as_of": None if as_of is None else as_of_to_text(as_of),
            "limit": limit,
        }
        return self._server.read_rows("GET", path("datasets", name) + "/rows", parameters=parameters)

    def changes(
        self,
        name: str,
        *,
        after: AsOf = None,
        upto: AsOf = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        net: bool = True,
        limit: int | None = None,
    ) -> pa.RecordBatchReader:
        """Stream what changed in a dataset between two moments."""
        parameters: dict[str, object] = {
            "after": None if after is None else as_of_to_text(after),
            "upto": None if upto is None else as_of_to_text(upto),
            "columns": [""] if columns is not None and not columns else columns,
            "where": where,
            "net": net,
            "limit": limit,
        }
        return self._server.read_rows("GET", path("datasets", name) + "/changes", parameters=parameters)

    def write(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        operation: str,
        *,
        where: str | None = None,
        idempotency_key: str | None = None,
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> CommitResult:
        """Write rows into a dataset."""
        return self._server.write_rows(
            CommitResult,
            path("datasets", name) + "/rows",
            rows,
            key=idempotency_key,
            operation=operation,
            where=where,
            completes=None if completes is None else self._label(name, completes),
            branch=branch,
        )

    def merge(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        clauses: Sequence[MergeClause],
        *,
        idempotency_key: str | None = None,
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> CommitResult:
        """Merge rows into a dataset by clauses."""
        return self._server.write_rows(
            CommitResult,
            path("datasets", name) + "/merges",
            rows,
            key=idempotency_key,
            clauses=clauses_to_json(clauses),
            completes=None if completes is None else self._label(name, completes),
            branch=branch,
        )

    def write_together(
        self, writes: Sequence[DatasetWrite], *, message: str = "", idempotency_key: str | None = None
    ) -> list[CommitResult]:
        """Write to several datasets in one commit."""
        labelled = [
            write if write.completes is None else replace(write, completes=self._label(write.dataset, write.completes))
            for write in writes
        ]
        return self._server.write_rows(
            Page[CommitResult],
            "/transactions",
            *(write.rows for write in writes if write.rows is not None),
            key=idempotency_key,
            writes=writes_to_json(labelled),
            message=message,
        ).items

    def delete_where(
        self, name: str, where: str, *, idempotency_key: str | None = None, branch: str = MAIN_BRANCH
    ) -> CommitResult:
        """Delete the rows that satisfy a condition."""
        address = path("datasets", name) + "/rows"
        return self._server.post(
            CommitResult, address, method="DELETE", key=idempotency_key, where=where, branch=branch
        )

    def explain_write(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        operation: str,
        *,
        where: str | None = None,
        branch: str = MAIN_BRANCH,
    ) -> WriteExplanation:
        """Tell what a write would do to a dataset's files, and why."""
        address = path("datasets", name, "rows", "explanation")
        return self._server.write_rows(
            WriteExplanation, address, rows, key=None, operation=operation, where=where, branch=branch
        )

    def explain_merge(
        self, name: str, rows: pa.RecordBatchReader, clauses: Sequence[MergeClause], *, branch: str = MAIN_BRANCH
    ) -> WriteExplanation:
        """Tell what a merge would do to a dataset's files, and why."""
        address = path("datasets", name, "merges", "explanation")
        return self._server.write_rows(
            WriteExplanation, address, rows, key=None, clauses=clauses_to_json(clauses), branch=branch
        )

    def explain_delete(self, name: str, where: str, *, branch: str = MAIN_BRANCH) -> WriteExplanation:
        """Tell what a delete would do to a dataset's files, and why."""
        address = path("datasets", name, "rows", "deletion-explanation")
        return self._server.post(WriteExplanation, address, where=where, branch=branch)

    def evolve(self, name: str, changes: Sequence[SchemaChange]) -> CommitResult:
        """Change a dataset's schema."""
        body = {"changes": [change_to_plain(change) for change in changes]}
        return self._server.post(CommitResult, path("datasets", name) + "/schema-changes", body)

    def snapshots(
        self, name: str, before: int | None = None, limit: int = 100, branch: str = MAIN_BRANCH
    ) -> list[Snapshot]:
        """Return a page of a branch's snapshots, newest first."""
        address = path("datasets", name) + "/snapshots"
        return self._server.get(Page[Snapshot], address, before=before, limit=limit, branch=branch).items

    def snapshot(self, name: str, sequence_number: int) -> Snapshot:
        """Return a snapshot."""
        return self._server.get(Snapshot, path("datasets", name, "snapshots", str(sequence_number)))

    def manifest(self, name: str, sequence_number: int) -> Manifest:
        """Return what a snapshot changed, file by file."""
        return self._server.get(Manifest, path("datasets", name, "snapshots", str(sequence_number), "manifest"))

    def metadata_location(self, name: str) -> str:
        """Return the URI of the current Iceberg metadata file, for engines that read tables by path."""
        return self._server.get(dict[str, str], path("datasets", name) + "/metadata-location")["metadata_location"]

    # --- contracts -----------------------------------------------------------------------------------------------

    def put_contract(self, name: str, text: str) -> ContractDetails:
        """Put a contract in force."""
        address = path("datasets", name) + "/contract"
        answer = self._server.request("PUT", address, content=text.encode(), media_type="application/yaml")
        return decode(ContractDetails, answer)

    def contract(self, name: str) -> ContractDetails:
        """Return the contract in force."""
        return self._server.get(ContractDetails, path("datasets", name) + "/contract")

    def draft_contract(self, name: str) -> str:
        """Return an ODCS document to begin a contract from."""
        return self._server.request("GET", path("datasets", name) + "/contract/draft").decode()

    # --- completions ---------------------------------------------------------------------------------------------

    def complete(self, name: str, partition: str | date, *, idempotency_key: str | None = None) -> Completion:
        """Declare a partition complete."""
        body = {"partition": self._label(name, partition)}
        return self._server.post(Completion, path("datasets", name) + "/completions", body, key=idempotency_key)

    def completion(self, name: str, partition: str | date) -> Completion | None:
        """Return the newest completion of a partition, or None."""
        return self._completion(name, self._label(name, partition))

    def completions(self, name: str, before: str | None = None, limit: int = 100) -> list[Completion]:
        """Return a page of completions, highest label first."""
        address = path("datasets", name) + "/completions"
        return self._server.get(Page[Completion], address, before=before, limit=limit).items

    def wait_until_complete(self, name: str, partition: str | date, timeout: float) -> Completion:
        """Return the completion of a partition as soon as there is one."""
        label, deadline = self._label(name, partition), monotonic() + timeout
        while True:
            remaining = max(deadline - monotonic(), 0.0)
            found = self._completion(name, label, wait=min(remaining, LONGEST_WAIT_SECONDS))
            if found is not None:
                return found
            if monotonic() >= deadline:
                raise WaitTimeoutError(
                    f"Partition {partition} of {name} did not become complete within {timeout:g} s.",
                    hint=f"See what is complete with: cordillera completion list {name}.",
                )

    def _completion(self, name: str, label: str, wait: float | None = None) -> Completion | None:
        address = f"{path('datasets', name)}/completions/{segment_text(label)}"
        answer = self._server.request("GET", address, parameters={"wait": wait})
        return None if answer == b"null" else decode(Completion, answer)

    def _label(self, name: str, partition: str | date) -> str:
        """Return the label of a partition; what label a date has depends on how the dataset is cut."""
        if isinstance(partition, str):
            return partition
        return partition_label(CompletionUnit(self.dataset(name).version.completion_unit), partition, name)

    # --- targets and subscriptions -------------------------------------------------------------------------------

    def create_target(self, name: str, kind: str, config: Mapping[str, str], *, check: bool = True) -> Target:
        """Configure a target."""
        body = {"name": name, "kind": kind, "config": dict(config), "check": check}
        return self._server.post(Target, "/targets", body)

    def target(self, name: str) -> Target:
        """Return a target."""
        return self._server.get(Target, path("targets", name))

    def targets(self, after: str = "", limit: int = 100) -> list[Target]:
        """Return a page of targets."""
        return self._server.get(Page[Target], "/targets", after=after, limit=limit).items

    def check_target(self, name: str) -> None:
        """Make sure that a target can be reached and written."""
        self._server.request("POST", path("targets", name) + "/check")

    def delete_target(self, name: str) -> None:
        """Remove a target nobody uses."""
        self._server.request("DELETE", path("targets", name))

    def subscribe(
        self,
        dataset: str,
        target: str,
        *,
        table: str = "",
        consumer: str = "",
        purpose: str = "",
        columns: Sequence[str] = (),
        row_filter: str = "",
    ) -> Subscription:
        """Ask for a target to follow a dataset."""
        body = {
            "dataset": dataset,
            "target": target,
            "table": table,
            "consumer": consumer,
            "purpose": purpose,
            "columns": list(columns),
            "row_filter": row_filter,
        }
        return self._server.post(Subscription, "/subscriptions", body)

    def subscription(self, subscription_id: UUID) -> SubscriptionStatus:
        """Return a subscription with its lag."""
        return self._server.get(SubscriptionStatus, path("subscriptions", str(subscription_id)))

    def subscriptions(
        self,
        *,
        dataset: str | None = None,
        target: str | None = None,
        state: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[SubscriptionStatus]:
        """Return a page of subscriptions with their lag."""
        return self._server.get(
            Page[SubscriptionStatus],
            "/subscriptions",
            dataset=dataset,
            target=target,
            state=state,
            after=after,
            limit=limit,
        ).items

    def pause_subscription(self, subscription_id: UUID) -> Subscription:
        """Stop deliveries."""
        return self._server.post(Subscription, path("subscriptions", str(subscription_id), "pause"))

    def resume_subscription(self, subscription_id: UUID) -> Subscription:
        """Deliver again."""
        return self._server.post(Subscription, path("subscriptions", str(subscription_id), "resume"))

    def revoke_subscription(self, subscription_id: UUID, *, keep_rows: bool = True) -> Subscription:
        """End a subscription."""
        body = {"keep_rows": keep_rows}
        return self._server.post(Subscription, path("subscriptions", str(subscription_id), "revoke"), body)

    def verify_subscription(self, subscription_id: UUID) -> Verification:
        """Compare a target with the lake by keyed checksum."""
        return self._server.post(Verification, path("subscriptions", str(subscription_id), "verify"))

    # --- jobs and runs -------------------------------------------------------------------------------------------

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
    ) -> Job:
        """Create a job."""
        body = {
            "name": name,
            "sql": sql,
            "output_condition": output_condition,
            "output": output,
            "inputs": list(inputs),
            "owner": owner,
            "description": description,
        }
        return self._server.post(Job, "/jobs", body)

    def job(self, name: str) -> Job:
        """Return a job."""
        return self._server.get(Job, path("jobs", name))

    def jobs(self, after: str = "", limit: int = 100) -> list[Job]:
        """Return a page of jobs."""
        return self._server.get(Page[Job], "/jobs", after=after, limit=limit).items

    def set_job_enabled(self, name: str, enabled: bool) -> Job:
        """Let completions start runs of a job, or not."""
        return self._server.post(Job, path("jobs", name), {"enabled": enabled}, method="PATCH")

    def delete_job(self, name: str) -> None:
        """Remove a job."""
        self._server.request("DELETE", path("jobs", name))

    def run_job(self, name: str, partition: str) -> Run:
        """Run a job again for a partition."""
        return self._server.post(Run, path("jobs", name, "runs"), {"partition": partition})

    def run(self, run_id: UUID) -> Run:
        """Return a run."""
        return self._server.get(Run, path("runs", str(run_id)))

    def runs(
        self,
        *,
        job: str | None = None,
        state: str | None = None,
        partition: str | None = None,
        before: UUID | None = None,
        limit: int = 100,
    ) -> list[Run]:
        """Return a page of runs, newest first."""
        return self._server.get(
            Page[Run], "/runs", job=job, state=state, partition=partition, before=before, limit=limit
        ).items

    def run_counts(self) -> list[RunCount]:
        """Return how many runs each job has in each state."""
        return self._server.get(Page[RunCount], "/run-counts").items

    def waiting(self, job: str, limit: int = 50) -> list[Waiting]:
        """Return the partitions for which a job waits, and for what."""
        return self._server.get(Page[Waiting], path("jobs", job, "waiting"), limit=limit).items

    # --- lineage, events, tasks, tokens --------------------------------------------------------------------------

    def lineage(self, node: Node, *, upstream: int = 1, downstream: int = 1) -> LineageGraph:
        """Return the surroundings of a node of the lineage graph."""
        return self._server.get(
            LineageGraph, "/lineage", kind=node.kind, name=node.name, upstream=upstream, downstream=downstream
        )

    def events(self, *, dataset: str | None = None, before: int | None = None, limit: int = 100) -> list[Event]:
        """Return a page of events, newest first."""
        return self._server.get(Page[Event], "/events", dataset=dataset, before=before, limit=limit).items

    def audit(self, *, object_name: str | None = None, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return a page of the audit log, newest first."""
        return self._server.get(Page[AuditEntry], "/audit", object_name=object_name, before=before, limit=limit).items

    def tasks(self, *, state: str | None = None, after: UUID | None = None, limit: int = 100) -> list[Task]:
        """Return a page of background tasks."""
        return self._server.get(Page[Task], "/tasks", state=state, after=after, limit=limit).items

    def create_token(self, name: str, *, principal: str = "", days: int | None = 90) -> NewToken:
        """Make an API token."""
        return self._server.post(NewToken, "/tokens", {"name": name, "principal": principal, "days": days})

    def tokens(self, after: UUID | None = None, limit: int = 100) -> list[Token]:
        """Return a page of API tokens; the hashes of their secrets stay with the server."""
        return self._server.get(Page[Token], "/tokens", after=after, limit=limit).items

    def revoke_token(self, token_id: UUID) -> None:
        """Make an API token useless."""
        self._server.request("DELETE", path("tokens", str(token_id)))


def _table(schema: pa.Schema, options: TableOptions) -> dict[str, object]:
    return {"columns": to_plain(schema_to_columns(schema)), "options": to_plain(options)}
