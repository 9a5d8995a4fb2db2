"""A lake behind a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import httpx2
import pyarrow as pa

from cordillera.access.service import NewToken, SigningKey
from cordillera.catalog.new_table import TableOptions
from cordillera.client.access import RemoteAccess
from cordillera.client.access_requests import RemoteAccessRequests
from cordillera.client.backend import DatasetDetails
from cordillera.client.branches import RemoteBranches
from cordillera.client.candidates import RemoteCandidates
from cordillera.client.completions import RemoteCompletions
from cordillera.client.connection import Connection, path
from cordillera.client.consumption import RemoteConsumption
from cordillera.client.contract_proposals import RemoteContractProposals
from cordillera.client.contracts import RemoteContracts
from cordillera.client.deputies import RemoteDeputies
from cordillera.client.destinations import RemoteDestinations
from cordillera.client.event_streams import RemoteEventStreams
from cordillera.client.evolution import RemoteEvolution
from cordillera.client.lake_keys import RemoteLakeKeys
from cordillera.client.remote_maintenance import RemoteMaintenance
from cordillera.client.remote_rows import RemoteRows
from cordillera.client.remote_work import RemoteWork
from cordillera.client.views import RemoteViews
from cordillera.codec import Page, to_plain
from cordillera.maintenance.results import Orphan
from cordillera.operations.audit import AuditExport
from cordillera.operations.doctor import Finding
from cordillera.ports.metadata.access import Token
from cordillera.ports.metadata.operations import LakeInfo
from cordillera.schema_codec import schema_to_columns
from cordillera.spec.access_explanation import WhoAmI
from cordillera.spec.as_of import AsOf, as_of_to_text
from cordillera.spec.audit_chain import AUDIT_DATASET, AuditVerification
from cordillera.spec.catalog import Dataset, Namespace, SearchResult
from cordillera.spec.event import AuditEntry, Event, Task
from cordillera.spec.lineage import LineageGraph, Node


class RemoteBackend(
    RemoteAccess,
    RemoteAccessRequests,
    RemoteCandidates,
    RemoteCompletions,
    RemoteRows,
    RemoteBranches,
    RemoteConsumption,
    RemoteContracts,
    RemoteContractProposals,
    RemoteEventStreams,
    RemoteEvolution,
    RemoteDeputies,
    RemoteLakeKeys,
    RemoteMaintenance,
    RemoteViews,
    RemoteDestinations,
    RemoteWork,
):
    """Implements ``LakeBackend`` over the HTTP API.

    Args:
        url: Where the server is, for example ``http://127.0.0.1:8470``.
        token: An API token; by default that of ``CORDILLERA_TOKEN``, or what ``cordillera login`` keeps.
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

    def create_namespace(
        self, name: str, *, owner: str = "", description: str = "", properties: Mapping[str, str] | None = None
    ) -> Namespace:
        """Create a namespace."""
        body = {"name": name, "owner": owner, "description": description, "properties": properties or {}}
        return self._server.post(Namespace, "/namespaces", body)

    def namespace(self, name: str) -> Namespace:
        """Return a namespace."""
        return self._server.get(Namespace, path("namespaces", name))

    def namespaces(self, after: str = "", limit: int = 100, *, parent: str | None = None) -> list[Namespace]:
        """Return a page of namespaces; with ``parent`` those directly within it, those within none if it is empty."""
        return self._server.get(Page[Namespace], "/namespaces", after=after, limit=limit, parent=parent).items

    def update_namespace(
        self,
        name: str,
        *,
        owner: str | None = None,
        description: str | None = None,
        properties: Mapping[str, str | None] | None = None,
    ) -> Namespace:
        """Change a namespace's owner, description or properties."""
        body = {"owner": owner, "description": description, "properties": properties or {}}
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

    def set_lifecycle(self, name: str, lifecycle: str, *, reason: str = "") -> DatasetDetails:
        """Change a dataset version's lifecycle."""
        address, body = path("datasets", name) + "/lifecycle", {"lifecycle": lifecycle, "reason": reason}
        return self._server.post(DatasetDetails, address, body, method="PUT")

    def register_dataset(self, name: str, metadata_location: str) -> DatasetDetails:
        """Make a table that lies in the lake's storage a dataset."""
        body = {"metadata_location": metadata_location}
        return self._server.post(DatasetDetails, path("datasets", name) + "/register", body)

    def rename_dataset(self, name: str, new_name: str) -> Dataset:
        """Call a dataset otherwise, or move it to another namespace."""
        return self._server.post(Dataset, path("datasets", name) + "/rename", {"name": new_name})

    def delete_dataset(self, name: str) -> Dataset:
        """Delete a dataset; it can be restored for a week."""
        return self._server.post(Dataset, path("datasets", name), method="DELETE")

    def restore_dataset(self, name: str) -> Dataset:
        """Bring a deleted dataset back."""
        return self._server.post(Dataset, path("datasets", name) + "/restore")

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

    def verify_audit(self, head: str = "", *, newest: int | None = None) -> AuditVerification:
        """Look whether the audit log's chain holds."""
        return self._server.get(AuditVerification, "/audit/verification", head=head, newest=newest)

    def export_audit(self, dataset: str = AUDIT_DATASET) -> AuditExport:
        """Bring what is new in the audit log into a dataset."""
        return self._server.post(AuditExport, "/audit/export", {"dataset": dataset})

    def tasks(self, *, state: str | None = None, after: UUID | None = None, limit: int = 100) -> list[Task]:
        """Return a page of background tasks."""
        return self._server.get(Page[Task], "/tasks", state=state, after=after, limit=limit).items

    def create_token(
        self, name: str, *, principal: str = "", days: int | None = 90, read_only: bool = False
    ) -> NewToken:
        """Make an API token."""
        body = {"name": name, "principal": principal, "days": days, "read_only": read_only}
        return self._server.post(NewToken, "/tokens", body)

    def tokens(self, after: UUID | None = None, limit: int = 100) -> list[Token]:
        """Return a page of API tokens; the hashes of their secrets stay with the server."""
        return self._server.get(Page[Token], "/tokens", after=after, limit=limit).items

    def revoke_token(self, token_id: UUID) -> None:
        """Make an API token useless."""
        self._server.request("DELETE", path("tokens", str(token_id)))

    def rotate_token(self, token_id: UUID, *, keep_hours: int = 24) -> NewToken:
        """Give an API token a new secret."""
        return self._server.post(NewToken, path("tokens", str(token_id)) + "/rotate", {"keep_hours": keep_hours})

    def whoami(self) -> WhoAmI:
        """Return who acts."""
        return self._server.get(WhoAmI, "/session")

    def signing_key(self, token_id: UUID) -> SigningKey:
        """Return what requests are signed with in an API token's name."""
        return self._server.post(SigningKey, path("tokens", str(token_id)) + "/signing-key")


def _table(schema: pa.Schema, options: TableOptions) -> dict[str, object]:
    return {"columns": to_plain(schema_to_columns(schema)), "options": to_plain(options)}
