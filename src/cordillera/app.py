"""The composition root: the only place that knows which adapter stands behind which port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from os.path import realpath
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from cordillera.access.approval_rules import ApprovalRuleService
from cordillera.access.authorizer import GrantAuthorizer
from cordillera.access.credentials import CredentialService
from cordillera.access.deputies import DeputyService
from cordillera.access.explanations import ExplanationService
from cordillera.access.grants import GrantService
from cordillera.access.keys import LakeKeyService
from cordillera.access.narrowing import Narrowing
from cordillera.access.policy_tags import PolicyTagService
from cordillera.access.requests import AccessRequestService
from cordillera.access.roles import RoleService
from cordillera.access.securables import Securables
from cordillera.access.service import AccessService
from cordillera.access.sign_in import SignInService
from cordillera.access.terminal import TerminalService
from cordillera.access.workloads import WorkloadService
from cordillera.adapters.db import open_metadata_store
from cordillera.adapters.destinations import KnownSenders
from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.identity import build_identity_provider, build_workload_provider
from cordillera.adapters.storage import build_credential_vendor, build_request_signer, build_storage
from cordillera.adapters.synchronizers import build_synchronizer, complete_paths
from cordillera.advice.recorder import ScanRecorder
from cordillera.advice.service import AdviceService
from cordillera.arrow_memory import prefer_jemalloc
from cordillera.catalog.branches import BranchService
from cordillera.catalog.commits import CommitService
from cordillera.catalog.consumption import ConsumptionService
from cordillera.catalog.declarations import DeclarationService
from cordillera.catalog.deletion import DeletionService
from cordillera.catalog.evolution import EvolutionService
from cordillera.catalog.external_commits import ExternalCommitService
from cordillera.catalog.external_tables import ExternalTableService
from cordillera.catalog.lookup import Lookup
from cordillera.catalog.namespaces import NamespaceService
from cordillera.catalog.queries import QueryService
from cordillera.catalog.registration import RegistrationService
from cordillera.catalog.scan_plans import ScanPlanService
from cordillera.catalog.service import CatalogService
from cordillera.catalog.signed_values import SignedValues
from cordillera.catalog.staging import StagingService
from cordillera.catalog.tables import TableService
from cordillera.catalog.transactions import TransactionService
from cordillera.catalog.view_definitions import ViewDefinitionService
from cordillera.catalog.views import ViewService
from cordillera.catalog.waking import WAKE
from cordillera.catalog.writes import WriteService
from cordillera.completion.counting import PartitionCounter
from cordillera.completion.derivation import DerivationService
from cordillera.completion.handlers import DERIVE, on_rows_changed, on_upstreams_completed
from cordillera.completion.rules import CompletionRuleService
from cordillera.completion.service import CompletionService
from cordillera.contracts.candidates import CandidateService
from cordillera.contracts.proposals import ProposalService
from cordillera.contracts.service import ContractService
from cordillera.contracts.service_levels import ServiceLevelService
from cordillera.destinations.delivery import EventDeliveryService
from cordillera.destinations.handlers import RESEND, SEND, on_events
from cordillera.destinations.service import DestinationService
from cordillera.errors import AlreadyExistsError, InvalidConfigurationError
from cordillera.lineage.service import LineageService
from cordillera.maintenance.handlers import MAINTAIN, on_snapshot_committed
from cordillera.maintenance.orphans import OrphanService
from cordillera.maintenance.policies import MaintenancePolicyService
from cordillera.maintenance.service import MaintenanceService
from cordillera.maintenance.statistics import StatisticsService
from cordillera.operations.audit import AuditService
from cordillera.operations.dispatch import EventDispatcher, EventHandler, EventsHandler, of_topic
from cordillera.operations.doctor import DoctorService
from cordillera.operations.service import LeaseTerms, OperationsService, TaskHandler
from cordillera.ports.clock import Clock, SystemClock
from cordillera.ports.credentials import CredentialVendor
from cordillera.ports.metadata.operations import LakeInfo
from cordillera.settings import (
    SETTINGS_FILE,
    Settings,
    load_settings,
    make_settings,
    with_whole_paths,
    write_settings_file,
)
from cordillera.spec.event import Topic
from cordillera.spec.lake_key import KeyPurpose
from cordillera.subscriptions.approval import on_access_changed, on_access_request_changed
from cordillera.subscriptions.changes import ChangeService
from cordillera.subscriptions.delivery import DeliveryService
from cordillera.subscriptions.following import Following
from cordillera.subscriptions.handlers import (
    DELIVER,
    EXPIRE,
    ON_TIME,
    VERIFY,
    WITHDRAW,
    on_dataset_changed,
    on_dataset_moved,
    on_datasets_completed,
    on_time,
)
from cordillera.subscriptions.lifecycle import SubscriptionLifecycle
from cordillera.subscriptions.load import TargetLoad
from cordillera.subscriptions.pointing import Pointing
from cordillera.subscriptions.service import SubscriptionService, SynchronizerFactory
from cordillera.subscriptions.skips import SkipService
from cordillera.subscriptions.verification import VerificationService
from cordillera.table.io import TableIO
from cordillera.workflows.execution import RunService
from cordillera.workflows.explaining import JobExplanationService
from cordillera.workflows.handlers import RUN, on_partitions_completed
from cordillera.workflows.service import WorkflowService

_EVENT_HANDLERS: Mapping[Topic, Sequence[EventHandler]] = {
    Topic.SNAPSHOT_COMMITTED: [on_dataset_moved, on_snapshot_committed, on_rows_changed],
    Topic.SCHEMA_CHANGED: [on_dataset_moved],
    Topic.DATASET_CHANGED: [on_dataset_changed],
    Topic.ACCESS_REQUEST_CHANGED: [on_access_request_changed],
}
_ON_COMPLETION = (on_partitions_completed, on_upstreams_completed, on_datasets_completed)
_EVENTS_HANDLERS: Sequence[EventsHandler] = [
    *(of_topic(Topic.PARTITION_COMPLETED, handler) for handler in _ON_COMPLETION),
    on_events,
]


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
        prefer_jemalloc()
        self.settings = settings
        self.clock = clock = clock or SystemClock()
        self.store = store = open_metadata_store(settings.metadata_url.get_secret_value())
        self.storage = build_storage(settings.storage_root, settings.storage_options())
        self.engine = engine = DuckDBEngine(settings.memory_limit, settings.threads)
        self.scans = ScanRecorder(store, clock)
        self.tables = tables = TableService(store, TableIO(self.storage, engine, clock), self.scans)
        self.authorizer = GrantAuthorizer(clock)
        lookup = Lookup(self.authorizer)
        self.namespaces = NamespaceService(store, lookup, clock)
        self.catalog = catalog = CatalogService(store, lookup, tables, clock)
        self.consumption = ConsumptionService(store, lookup, clock)
        self.deletion = DeletionService(store, lookup, tables, clock)
        self.contracts = ContractService(store, lookup, tables, engine, clock)
        self.proposals = ProposalService(store, lookup, self.contracts, clock)
        self.service_levels = ServiceLevelService(store, clock)
        guards = (self.contracts,)
        self.commits = CommitService(store, lookup, tables, clock, guards)
        self.candidates = CandidateService(store, tables, self.commits, engine, clock)
        staging = StagingService(catalog, tables, guards)
        self.writes = WriteService(store, catalog, tables, self.commits, staging)
        self.declarations = DeclarationService(store, lookup, clock)
        self.evolution = EvolutionService(catalog, tables, self.commits)
        self.transactions = TransactionService(store, staging, self.commits, clock)
        self.external_commits = ExternalCommitService(store, catalog, tables, self.commits)
        self.external_tables = ExternalTableService(catalog, tables, self.external_commits, clock)
        self.registration = RegistrationService(catalog, self.deletion, tables, self.external_commits)
        self.scan_plans = ScanPlanService(catalog, tables, SignedValues(store, clock, KeyPurpose.SCAN_PLANS))
        self.branches = BranchService(store, catalog, tables, self.commits)
        self.views = ViewService(store, lookup, self.storage, clock)
        self.queries = QueryService(store, lookup, self.views, tables, engine)
        self.view_definitions = ViewDefinitionService(self.views, self.queries, clock)
        self.completions = CompletionService(store, catalog)
        self.completion_rules = CompletionRuleService(store, lookup, tables, clock)
        self.derivations = DerivationService(store, lookup, PartitionCounter(tables, engine), clock)
        securables = Securables(lookup, self.authorizer)
        narrowing = Narrowing(tables)
        self.access_requests = AccessRequestService(store, securables, self.authorizer, narrowing, clock)
        asks = self.access_requests.ask_to_read
        self.subscriptions = SubscriptionService(store, lookup, catalog, tables, synchronizers, asks, clock)
        self.subscription_lives = SubscriptionLifecycle(store, lookup, clock)
        self.skips = SkipService(store, lookup, tables, synchronizers, clock)
        self.subscription_changes = ChangeService(store, lookup, tables, self.subscriptions, clock)
        load = TargetLoad(synchronizers)
        following = Following(store, lookup, tables, synchronizers, load)
        pointing = Pointing(store, tables, clock)
        self.deliveries = DeliveryService(store, following, pointing, tables, clock)
        self.verifications = VerificationService(store, following, pointing, engine, clock)
        self.workflows = WorkflowService(store, lookup, catalog, self.queries, clock)
        why = self.completion_rules.explain
        self.job_explanations = JobExplanationService(store, lookup, self.workflows, why, clock)
        self.runs = RunService(store, catalog, self.queries, self.writes, clock)
        self.lineage = LineageService(store, lookup)
        self.access = AccessService(store, lookup, clock)
        self.sign_in = self._sign_in(settings)
        codes = SignedValues(store, clock, KeyPurpose.SIGN_IN)
        self.terminals = TerminalService(self.access, codes, clock, settings.oidc_session_hours)
        vouching = build_workload_provider([one.model_dump() for one in settings.workloads])
        self.workloads = WorkloadService(store, self.access, vouching, clock)
        self.lake_keys = LakeKeyService(store, lookup, clock)
        self.credentials = CredentialService(
            store,
            lookup,
            self.credential_vendor(),
            build_request_signer(settings.storage_root, settings.storage_options()),
            self.scans,
            clock,
        )
        self.grants = GrantService(store, securables, self.authorizer, narrowing, clock)
        self.approval_rules = ApprovalRuleService(store, lookup, clock)
        self.deputies = DeputyService(store, securables, lookup, clock)
        self.explanations = ExplanationService(store, securables, self.authorizer, clock)
        self.roles = RoleService(store, lookup, clock)
        self.policy_tags = PolicyTagService(store, securables, tables, clock)
        self.statistics = StatisticsService(store, catalog, tables, self.commits, clock)
        self.maintenance = MaintenanceService(store, catalog, tables, self.commits, clock)
        self.maintenance_policies = MaintenancePolicyService(
            store, catalog, tables, self.commits, self.maintenance, self.statistics, clock
        )
        self.advice = AdviceService(store, catalog, tables, self.scans, clock)
        self.orphans = OrphanService(store, lookup, catalog, tables, clock)
        sender = KnownSenders(settings.endpoint_rules())
        self.event_deliveries = EventDeliveryService(store, sender, clock)
        self.destinations = DestinationService(store, lookup, sender, self.event_deliveries, clock)
        self.audit = AuditService(store, lookup, self.namespaces, catalog, self.writes)
        self.doctor = DoctorService(store, tables, self.subscriptions, self.orphans, lookup, clock)
        self.operations = OperationsService(
            store,
            lookup,
            clock,
            EventDispatcher(store, clock, _EVENT_HANDLERS, _EVENTS_HANDLERS),
            self._task_handlers(),
            LeaseTerms.of_seconds(settings.lease_seconds),
            load.at_once,
            outward=[SEND],
        )

    def credential_vendor(self) -> CredentialVendor | None:
        """Return what makes credentials for the storage, if anything does."""
        settings = self.settings
        return build_credential_vendor(
            settings.storage_root,
            settings.storage_options(),
            role_arn=settings.s3_role_arn,
            endpoint=settings.s3_sts_endpoint,
            seconds=settings.s3_credential_seconds,
        )

    def _sign_in(self, settings: Settings) -> SignInService | None:
        """Return what lets people in whom a provider identifies, if there is one."""
        provider = build_identity_provider(
            settings.oidc_issuer,
            settings.oidc_client_id,
            settings.oidc_client_secret.get_secret_value(),
            scopes=settings.oidc_scopes,
            name_claim=settings.oidc_name_claim,
            groups_claim=settings.oidc_groups_claim,
        )
        if provider is None:
            return None
        return SignInService(self.store, self.access, provider, self.clock, settings.oidc_session_hours)

    def _task_handlers(self) -> Mapping[str, TaskHandler]:
        """Return who does which kind of task."""

        def deliver(payload: Mapping[str, Any]) -> None:
            self.deliveries.deliver(UUID(payload["subscription_id"]))

        def withdraw(payload: Mapping[str, Any]) -> None:
            self.deliveries.withdraw(UUID(payload["subscription_id"]), keep_rows=payload["keep_rows"])

        def expire(payload: Mapping[str, Any]) -> None:
            self.deliveries.expire(UUID(payload["subscription_id"]))

        def run(payload: Mapping[str, Any]) -> None:
            self.runs.execute(payload["job"], payload["partition"])

        def maintain(payload: Mapping[str, Any]) -> None:
            self.maintenance_policies.maintain(UUID(payload["dataset_version_id"]))

        def derive(payload: Mapping[str, Any]) -> None:
            self.derivations.derive(UUID(payload["dataset_version_id"]))

        def send(payload: Mapping[str, Any]) -> None:
            self.event_deliveries.send_due(UUID(payload["destination_id"]))

        handlers = {DELIVER: deliver, WITHDRAW: withdraw, EXPIRE: expire, RUN: run, MAINTAIN: maintain}
        access_changed = partial(on_access_changed, self.store, Lookup(self.authorizer), clock=self.clock)
        timed = partial(on_time, self.store, clock=self.clock)
        handlers |= {DERIVE: derive, VERIFY: self.verifications.perform, WAKE: access_changed, ON_TIME: timed}
        handlers |= {SEND: send, RESEND: self.event_deliveries.wake}
        return handlers

    @staticmethod
    def complete_target_config(kind: str, config: Mapping[str, str]) -> dict[str, str]:
        """Return a target's settings with relative paths of files counted from this process's working directory."""
        return complete_paths(kind, config, Path.cwd())

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
        self.scans.close()
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
        InvalidConfigurationError: If a setting is wrong, or the lake's data has moved.
    """
    settings = load_settings(Path(path))
    app = Application(settings, clock, synchronizers)
    try:
        app.store.check_schema()
        recorded = app.lake().storage_root
        if recorded == app.storage.root:
            return app
        _check_same_place(recorded, app.storage.root, Path(path))
    except BaseException:
        app.close()
        raise
    app.close()
    return Application(settings.model_copy(update={"storage_root": recorded}), clock, synchronizers)


def _check_same_place(recorded: str, root: str, folder: Path) -> None:
    """Make sure that a storage root that is written otherwise than when the lake was made is the same directory.

    Every file is named in full in the lake's metadata: a lake that was moved would not find its files, and one that
    was copied would find those of the original, and work on them.
    """
    scheme = "file://"
    local = recorded.startswith(scheme) and root.startswith(scheme)
    then, now = recorded.removeprefix(scheme), root.removeprefix(scheme)
    if local and realpath(then) == realpath(now):
        return
    moved = f"Move the folder back, or make {then} a link to {now} if nothing else is there. " if local else ""
    raise InvalidConfigurationError(
        f"The lake in {folder} was made with its data in {then}, and its metadata names every file there; its settings "
        f"now say {now}. The folder was moved or copied, or storage_root was changed.",
        hint=f"{moved}If storage_root was changed, set it to {then} again.",
    )


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

    What is given here goes before the environment and is written into the lake's settings file, but for secrets: a
    password in the metadata URL and the S3 secret key have to be in the environment when the lake is opened again.

    Args:
        path: The lake's folder; it is made if need be.
        name: The lake's name.
        metadata_url: The metadata database; a relative path in it counts from the working directory.
        storage_root: Where data lives; a relative path counts from the working directory.
        clock: Time and ids.
        further: Other settings by name.

    Raises:
        AlreadyExistsError: If there is a lake in the folder, or in the database.
        InvalidConfigurationError: If a setting is unknown or has a value that cannot be.
    """
    folder = Path(path)
    if (folder / SETTINGS_FILE).exists():
        raise AlreadyExistsError(f"There is a lake in {folder} already.", hint="Use it, or choose another folder.")
    values = {"name": name, "metadata_url": metadata_url, "storage_root": storage_root, **further}
    values = with_whole_paths({key: value for key, value in values.items() if value}, Path.cwd())
    folder.mkdir(parents=True, exist_ok=True)
    app = Application(make_settings(folder, values), clock)
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
