"""The metadata store on a SQL database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from cordillera.adapters.db.access import SqlSigningKeyRows, SqlTokenRows
from cordillera.adapters.db.access_requests import SqlAccessRequestRows, SqlApprovalRuleRows
from cordillera.adapters.db.candidates import SqlCandidateRows
from cordillera.adapters.db.catalog import SqlDatasetRows, SqlNamespaceRows
from cordillera.adapters.db.completion import SqlCompletionRows
from cordillera.adapters.db.completion_rules import SqlCompletionRuleRows
from cordillera.adapters.db.contract_proposals import SqlContractProposalRows
from cordillera.adapters.db.contracts import SqlContractRows
from cordillera.adapters.db.dataset_versions import SqlDatasetVersionRows
from cordillera.adapters.db.deputies import SqlDeputyRows
from cordillera.adapters.db.destinations import SqlDestinationRows, SqlEventDeliveryRows
from cordillera.adapters.db.engine import open_database
from cordillera.adapters.db.events import SqlEventRows
from cordillera.adapters.db.grants import SqlGrantRows, SqlMembershipRows, SqlPolicyTagRows
from cordillera.adapters.db.lineage import SqlLineageRows
from cordillera.adapters.db.maintenance import SqlMaintenanceRows
from cordillera.adapters.db.migration import check_schema, migrate
from cordillera.adapters.db.operations import SqlAuditRows, SqlLakeRow
from cordillera.adapters.db.pointers import SqlPointerRows
from cordillera.adapters.db.scans import SqlReadRows, SqlScanRows
from cordillera.adapters.db.search import SqlSearchRows
from cordillera.adapters.db.service_levels import SqlServiceLevelRows
from cordillera.adapters.db.session import Session, open_joined_session, open_session
from cordillera.adapters.db.snapshots import SqlSnapshotRows
from cordillera.adapters.db.subscriptions import SqlSubscriptionRows
from cordillera.adapters.db.targets import SqlTargetRows
from cordillera.adapters.db.tasks import SqlTaskRows
from cordillera.adapters.db.views import SqlViewRows
from cordillera.adapters.db.workflows import SqlJobRows, SqlRunRows
from cordillera.ports.metadata import Transaction
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

T = TypeVar("T")


class _Rows(Generic[T]):
    """A group of rows of a transaction, made where it is used: of more than thirty, most transactions use one to six.

    Args:
        kind: Makes it for a session.
    """

    def __init__(self, kind: Callable[[Session], T]) -> None:
        self._kind, self._name = kind, ""

    def __set_name__(self, owner: type[SqlTransaction], name: str) -> None:
        self._name = name

    def __get__(self, transaction: SqlTransaction, owner: type[SqlTransaction]) -> T:
        made = self._kind(transaction.session)
        transaction.__dict__[self._name] = made  # found there from now on
        return made


class SqlTransaction:
    """See :class:`cordillera.ports.metadata.Transaction`."""

    lake = _Rows[LakeRow](SqlLakeRow)
    namespaces = _Rows[NamespaceRows](SqlNamespaceRows)
    datasets = _Rows[DatasetRows](SqlDatasetRows)
    dataset_versions = _Rows[DatasetVersionRows](SqlDatasetVersionRows)
    views = _Rows[ViewRows](SqlViewRows)
    snapshots = _Rows[SnapshotRows](SqlSnapshotRows)
    search = _Rows[SearchRows](SqlSearchRows)
    contracts = _Rows[ContractRows](SqlContractRows)
    contract_proposals = _Rows[ContractProposalRows](SqlContractProposalRows)
    candidates = _Rows[CandidateRows](SqlCandidateRows)
    service_levels = _Rows[ServiceLevelRows](SqlServiceLevelRows)
    completions = _Rows[CompletionRows](SqlCompletionRows)
    completion_rules = _Rows[CompletionRuleRows](SqlCompletionRuleRows)
    targets = _Rows[TargetRows](SqlTargetRows)
    subscriptions = _Rows[SubscriptionRows](SqlSubscriptionRows)
    pointers = _Rows[PointerRows](SqlPointerRows)
    jobs = _Rows[JobRows](SqlJobRows)
    runs = _Rows[RunRows](SqlRunRows)
    lineage = _Rows[LineageRows](SqlLineageRows)
    tokens = _Rows[TokenRows](SqlTokenRows)
    signing_keys = _Rows[SigningKeyRows](SqlSigningKeyRows)
    grants = _Rows[GrantRows](SqlGrantRows)
    memberships = _Rows[MembershipRows](SqlMembershipRows)
    policy_tags = _Rows[PolicyTagRows](SqlPolicyTagRows)
    access_requests = _Rows[AccessRequestRows](SqlAccessRequestRows)
    deputies = _Rows[DeputyRows](SqlDeputyRows)
    approval_rules = _Rows[ApprovalRuleRows](SqlApprovalRuleRows)
    events = _Rows[EventRows](SqlEventRows)
    destinations = _Rows[DestinationRows](SqlDestinationRows)
    event_deliveries = _Rows[EventDeliveryRows](SqlEventDeliveryRows)
    audit = _Rows[AuditRows](SqlAuditRows)
    tasks = _Rows[TaskRows](SqlTaskRows)
    maintenance = _Rows[MaintenanceRows](SqlMaintenanceRows)
    scans = _Rows[ScanRows](SqlScanRows)
    reads = _Rows[ReadRows](SqlReadRows)

    def __init__(self, session: Session) -> None:
        self.session = session


class SqlMetadataStore:
    """The metadata of a lake in SQLite or PostgreSQL. Safe to use from several threads and processes.

    A transaction belongs to the thread that opened it. On SQLite one transaction writes at a time, so opening a second
    one for writing inside it waits in vain. When ``CommitInDoubtError`` comes out of the end of a ``write()`` block,
    because the connection broke, the commit may or may not have happened; after any other error it did not.

    Args:
        url: ``sqlite:///path/lake.db`` or ``postgresql://user:password@host/database``.

    Raises:
        InvalidConfigurationError: If the URL names no such database.
        MissingExtraError: If the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._database = open_database(url)

    def __repr__(self) -> str:
        return f"SqlMetadataStore({self._database.label!r})"

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction for reading one consistent state, which its first query fixes."""
        with open_session(self._database, self._database.reader) as session:
            yield SqlTransaction(session)

    @contextmanager
    def read_once(self) -> Iterator[Transaction]:
        """Open for one query."""
        with open_session(self._database, self._database.inquirer) as session:
            yield SqlTransaction(session)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open a transaction for writing."""
        with open_session(self._database, self._database.writer) as session:
            yield SqlTransaction(session)

    @contextmanager
    def write_together(self) -> Iterator[Transaction]:
        """Open a transaction for writing that may be committed together with those of other threads."""
        with open_joined_session(self._database) as session:
            yield SqlTransaction(session)

    def migrate(self) -> None:
        """Bring the schema up to this release's."""
        migrate(self._database)

    def check_schema(self) -> None:
        """Make sure that the schema is this release's."""
        check_schema(self._database)

    def close(self) -> None:
        """Release connections."""
        self._database.close()
