"""A lake in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from uuid import UUID

import pyarrow as pa

from cordillera.access.service import NewToken, SigningKey
from cordillera.app import Application
from cordillera.catalog.new_table import TableOptions
from cordillera.client.access import LocalAccess
from cordillera.client.access_requests import LocalAccessRequests
from cordillera.client.backend import DatasetDetails
from cordillera.client.branches import LocalBranches
from cordillera.client.candidates import LocalCandidates
from cordillera.client.completions import LocalCompletions
from cordillera.client.consumption import LocalConsumption
from cordillera.client.contract_proposals import LocalContractProposals
from cordillera.client.contracts import LocalContracts
from cordillera.client.deputies import LocalDeputies
from cordillera.client.destinations import LocalDestinations
from cordillera.client.event_streams import LocalEventStreams
from cordillera.client.evolution import LocalEvolution
from cordillera.client.lake_keys import LocalLakeKeys
from cordillera.client.local_maintenance import LocalMaintenance
from cordillera.client.local_rows import LocalRows
from cordillera.client.local_work import LocalWork
from cordillera.client.views import LocalViews
from cordillera.errors import InvalidInputError
from cordillera.maintenance.results import Orphan
from cordillera.operations.audit import AuditExport
from cordillera.operations.doctor import Finding
from cordillera.ports.metadata.access import Token
from cordillera.ports.metadata.operations import LakeInfo
from cordillera.spec.access import Privilege
from cordillera.spec.access_explanation import WhoAmI
from cordillera.spec.as_of import AsOf
from cordillera.spec.audit_chain import AUDIT_DATASET, AuditVerification
from cordillera.spec.catalog import Dataset, Lifecycle, Namespace, SearchResult
from cordillera.spec.durations import of_hours
from cordillera.spec.event import AuditEntry, Event, Task
from cordillera.spec.lineage import LineageGraph, Node

_MOST_ORPHANS = 1000


class LocalBackend(
    LocalAccess,
    LocalAccessRequests,
    LocalRows,
    LocalBranches,
    LocalCandidates,
    LocalCompletions,
    LocalConsumption,
    LocalContracts,
    LocalContractProposals,
    LocalEventStreams,
    LocalEvolution,
    LocalDeputies,
    LocalLakeKeys,
    LocalMaintenance,
    LocalViews,
    LocalDestinations,
    LocalWork,
):
    """Implements ``LakeBackend`` on the services of an application.

    Args:
        app: The lake; closed with the backend.
        behind_server: Whether the callers are elsewhere, so that a relative path means nothing here.
    """

    def __init__(self, app: Application, *, behind_server: bool = False) -> None:
        self.app, self._behind_server = app, behind_server

    # --- the lake ------------------------------------------------------------------------------------------------

    def info(self) -> LakeInfo:
        """Return the lake's id, name and place."""
        return self.app.lake()

    def examine(self, *, files: bool = True) -> list[Finding]:
        """Run the doctor's checks; without ``files`` all but the one that lists the storage."""
        return self.app.doctor.examine(files=files)

    def orphans(self, older_than_hours: float = 24.0) -> list[Orphan]:
        """Return up to a thousand files that belong to no snapshot."""
        return list(islice(self.app.orphans.find(of_hours(older_than_hours)), _MOST_ORPHANS))

    def query(self, sql: str, as_of: Mapping[str, AsOf] | None = None) -> pa.RecordBatchReader:
        """Run a SELECT over datasets and stream its result."""
        return self.app.queries.query(sql, as_of)

    def close(self) -> None:
        """Close the lake."""
        self.app.close()

    # --- namespaces ----------------------------------------------------------------------------------------------

    def create_namespace(
        self, name: str, *, owner: str = "", description: str = "", properties: Mapping[str, str] | None = None
    ) -> Namespace:
        """Create a namespace."""
        return self.app.namespaces.create(name, owner=owner, description=description, properties=properties)

    def namespace(self, name: str) -> Namespace:
        """Return a namespace."""
        return self.app.namespaces.get(name)

    def namespaces(self, after: str = "", limit: int = 100, *, parent: str | None = None) -> list[Namespace]:
        """Return a page of namespaces; with ``parent`` those directly within it, those within none if it is empty."""
        return self.app.namespaces.page(after, limit, parent=parent)

    def update_namespace(
        self,
        name: str,
        *,
        owner: str | None = None,
        description: str | None = None,
        properties: Mapping[str, str | None] | None = None,
    ) -> Namespace:
        """Change a namespace's owner, description or properties."""
        return self.app.namespaces.update(name, owner=owner, description=description, properties=properties)

    def delete_namespace(self, name: str) -> None:
        """Remove an empty namespace."""
        self.app.namespaces.delete(name)

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
        self.app.catalog.create_dataset(name, schema, options, owner=owner, description=description, tags=tags)
        return self.dataset(name)

    def create_dataset_version(
        self, name: str, schema: pa.Schema, options: TableOptions, *, active: bool = False
    ) -> DatasetDetails:
        """Create the next dataset version of a dataset."""
        made = self.app.catalog.create_dataset_version(name, schema, options, active=active)
        return self.dataset(made.pinned_name)

    def dataset(self, name: str) -> DatasetDetails:
        """Return a dataset with one of its dataset versions."""
        found = self.app.catalog.dataset(name, Privilege.DISCOVER)
        return DatasetDetails(
            found.dataset,
            found.version,
            tuple(self.app.catalog.columns(found.version)),
            tuple(self.app.catalog.dataset_versions(found.dataset.full_name)),
            self.app.tables.load(found.version).semantics,
        )

    def datasets(
        self, namespace: str | None = None, after: str = "", limit: int = 100, *, deleted: bool = False
    ) -> list[Dataset]:
        """Return a page of datasets."""
        return self.app.catalog.datasets(namespace, after, limit, deleted=deleted)

    def search(
        self, text: str = "", filters: Mapping[str, str] | None = None, after: str = "", limit: int = 50
    ) -> SearchResult:
        """Find datasets."""
        return self.app.catalog.search(text, filters, after, limit)

    def update_dataset(
        self,
        name: str,
        *,
        owner: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Dataset:
        """Change a dataset's owner, description or tags."""
        return self.app.catalog.update_dataset(name, owner=owner, description=description, tags=tags)

    def set_lifecycle(self, name: str, lifecycle: str, *, reason: str = "") -> DatasetDetails:
        """Change a dataset version's lifecycle."""
        try:
            wanted = Lifecycle(lifecycle)
        except ValueError:
            raise InvalidInputError(
                f"There is no lifecycle {lifecycle[:40]!r}.", hint=f"Use one of: {', '.join(Lifecycle)}."
            ) from None
        found = self.app.catalog.set_lifecycle(name, wanted, reason=reason)
        return self.dataset(found.pinned_name)

    def register_dataset(self, name: str, metadata_location: str) -> DatasetDetails:
        """Make a table that lies in the lake's storage a dataset."""
        self.app.registration.register(name, metadata_location)
        return self.dataset(name)

    def rename_dataset(self, name: str, new_name: str) -> Dataset:
        """Call a dataset otherwise, or move it to another namespace."""
        return self.app.catalog.rename_dataset(name, new_name)

    def delete_dataset(self, name: str) -> Dataset:
        """Delete a dataset; it can be restored for a week."""
        return self.app.deletion.delete(name)

    def restore_dataset(self, name: str) -> Dataset:
        """Bring a deleted dataset back."""
        return self.app.deletion.restore(name)

    # --- lineage, events, tasks, tokens --------------------------------------------------------------------------

    def lineage(self, node: Node, *, upstream: int = 1, downstream: int = 1) -> LineageGraph:
        """Return the surroundings of a node of the lineage graph."""
        return self.app.lineage.around(node, upstream=upstream, downstream=downstream)

    def events(self, *, dataset: str | None = None, before: int | None = None, limit: int = 100) -> list[Event]:
        """Return a page of events, newest first."""
        return self.app.operations.events(dataset=dataset, before=before, limit=limit)

    def audit(self, *, object_name: str | None = None, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return a page of the audit log, newest first."""
        return self.app.operations.audit(object_name=object_name, before=before, limit=limit)

    def verify_audit(self, head: str = "", *, newest: int | None = None) -> AuditVerification:
        """Look whether the audit log's chain holds."""
        return self.app.audit.verify(head, newest=newest)

    def export_audit(self, dataset: str = AUDIT_DATASET) -> AuditExport:
        """Bring what is new in the audit log into a dataset."""
        return self.app.audit.export(dataset)

    def tasks(self, *, state: str | None = None, after: UUID | None = None, limit: int = 100) -> list[Task]:
        """Return a page of background tasks."""
        return self.app.operations.tasks(state=state, after=after, limit=limit)

    def create_token(
        self, name: str, *, principal: str = "", days: int | None = 90, read_only: bool = False
    ) -> NewToken:
        """Make an API token."""
        return self.app.access.create_token(name, principal=principal, days=days, read_only=read_only)

    def tokens(self, after: UUID | None = None, limit: int = 100) -> list[Token]:
        """Return a page of API tokens."""
        return self.app.access.tokens(after, limit)

    def revoke_token(self, token_id: UUID) -> None:
        """Make an API token useless."""
        self.app.access.revoke_token(token_id)

    def rotate_token(self, token_id: UUID, *, keep_hours: int = 24) -> NewToken:
        """Give an API token a new secret."""
        return self.app.access.rotate_token(token_id, keep_hours=keep_hours)

    def whoami(self) -> WhoAmI:
        """Return who acts."""
        return self.app.access.whoami()

    def signing_key(self, token_id: UUID) -> SigningKey:
        """Return what requests are signed with in an API token's name."""
        return self.app.access.signing_key(token_id)
