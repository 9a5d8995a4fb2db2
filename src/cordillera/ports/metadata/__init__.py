"""The metadata store: everything the lake knows besides the data, behind one port, on SQLite and PostgreSQL.

A transaction offers one group of rows a domain. Lists are paged and ordered by an index; nothing here grows with the
lake except by the rows asked for.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from cordillera.ports.metadata.access import SigningKeyRows, TokenRows
from cordillera.ports.metadata.access_requests import AccessRequestRows, ApprovalRuleRows
from cordillera.ports.metadata.candidates import CandidateRows
from cordillera.ports.metadata.catalog import (
    DatasetRows,
    DatasetVersionRows,
    NamespaceRows,
    SearchRows,
    SnapshotRows,
    ViewRows,
)
from cordillera.ports.metadata.completion import CompletionRows, CompletionRuleRows
from cordillera.ports.metadata.contract_proposals import ContractProposalRows
from cordillera.ports.metadata.contracts import ContractRows
from cordillera.ports.metadata.deputies import DeputyRows
from cordillera.ports.metadata.destinations import DestinationRows, EventDeliveryRows
from cordillera.ports.metadata.grants import GrantRows, MembershipRows, PolicyTagRows
from cordillera.ports.metadata.lineage import LineageRows
from cordillera.ports.metadata.maintenance import MaintenanceRows
from cordillera.ports.metadata.operations import AuditRows, EventRows, LakeRow, TaskRows
from cordillera.ports.metadata.pointers import PointerRows
from cordillera.ports.metadata.scans import ReadRows, ScanRows
from cordillera.ports.metadata.service_levels import ServiceLevelRows
from cordillera.ports.metadata.subscriptions import SubscriptionRows, TargetRows
from cordillera.ports.metadata.workflows import JobRows, RunRows


class Transaction(Protocol):
    """One database transaction. What it wrote becomes visible, all of it, when its block ends without an error."""

    lake: LakeRow
    namespaces: NamespaceRows
    datasets: DatasetRows
    dataset_versions: DatasetVersionRows
    views: ViewRows
    snapshots: SnapshotRows
    search: SearchRows
    contracts: ContractRows
    contract_proposals: ContractProposalRows
    candidates: CandidateRows
    service_levels: ServiceLevelRows
    completions: CompletionRows
    completion_rules: CompletionRuleRows
    targets: TargetRows
    subscriptions: SubscriptionRows
    pointers: PointerRows
    jobs: JobRows
    runs: RunRows
    lineage: LineageRows
    tokens: TokenRows
    signing_keys: SigningKeyRows
    grants: GrantRows
    memberships: MembershipRows
    policy_tags: PolicyTagRows
    access_requests: AccessRequestRows
    deputies: DeputyRows
    approval_rules: ApprovalRuleRows
    events: EventRows
    destinations: DestinationRows
    event_deliveries: EventDeliveryRows
    audit: AuditRows
    tasks: TaskRows
    maintenance: MaintenanceRows
    scans: ScanRows
    reads: ReadRows


class MetadataStore(Protocol):
    """The lake's metadata database.

    Every method may raise ``MetadataStoreBusyError`` when a retry may help.
    """

    def read(self) -> AbstractContextManager[Transaction]:
        """Open a transaction for reading one consistent state. Writing in it is an error."""

    def read_once(self) -> AbstractContextManager[Transaction]:
        """Open for one query, which need not wait for a transaction to begin and end: a second one may find a later
        state than the first. Writing is an error.
        """

    def write(self) -> AbstractContextManager[Transaction]:
        """Open a transaction for writing. An exception that leaves the block rolls everything back."""

    def write_together(self) -> AbstractContextManager[Transaction]:
        """Open a transaction for writing that may become durable together with those of other threads, where that is
        cheaper: the block has ended before, but nobody goes on behind it until it is.

        The block has to be short and must not wait for another thread: others of its group wait for its end. An
        exception that leaves it rolls back what it did, and nothing of the others.
        """

    def migrate(self) -> None:
        """Bring the schema up to this release's.

        Raises:
            SchemaTooNewError: If a newer release has migrated the database already.
        """

    def check_schema(self) -> None:
        """Make sure that the schema is this release's.

        Raises:
            SchemaTooNewError: If it is newer.
            InvalidConfigurationError: If it is older or empty: ``migrate`` is due.
        """

    def close(self) -> None:
        """Release connections."""


__all__ = ["MetadataStore", "Transaction"]
