"""Maintenance that nobody has to ask for: what a dataset's policy wants done, what of it is due, and doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog

from cordillera.catalog.commits import CommitRequest, CommitService
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.maintenance.results import MaintenanceStatus
from cordillera.maintenance.service import MaintenanceService, manifests_needed
from cordillera.maintenance.statistics import StatisticsService
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.commit import RemoveProperties, SetProperties, Update
from cordillera.spec.maintenance import (
    Advice,
    CompactionOptions,
    MaintenancePolicy,
    MaintenanceTask,
    TableCounters,
    check_policy,
    compaction_due,
    expiry_due,
    predicted_seconds,
    statistics_due,
)
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.compaction_plan import CompactionPlanner
from cordillera.table.content_file import ManifestFile

_MANY_MANIFESTS = 100

_log = structlog.get_logger(__name__)


class MaintenancePolicyService:
    """Keeps the maintenance policies of datasets, says what is due by them, and does it.

    Args:
        store: Knows what was done, and how long it took.
        catalog: Resolves names.
        tables: Loads table metadata.
        commits: Changes policies.
        maintenance: Does it.
        statistics: Counts distinct values.
        clock: The time.
    """

    def __init__(
        self,
        store: MetadataStore,
        catalog: CatalogService,
        tables: TableService,
        commits: CommitService,
        maintenance: MaintenanceService,
        statistics: StatisticsService,
        clock: Clock,
    ) -> None:
        self._store, self._catalog, self._tables, self._commits = store, catalog, tables, commits
        self._maintenance, self._statistics, self._clock = maintenance, statistics, clock

    def status(self, name: str) -> MaintenanceStatus:
        """Return what maintenance a dataset needs, and what it will take."""
        target, metadata = self._load(name, Privilege.READ)
        policy = MaintenancePolicy.or_usual(metadata.properties).under(metadata)
        counters = TableCounters.of(metadata)
        with self._store.read() as tx:
            mine = {task: tx.maintenance.recent(task, target.version.id) for task in MaintenanceTask}
            elsewhere = tx.maintenance.recent(MaintenanceTask.COMPACT)
        last = {task: runs[0] if runs else None for task, runs in mine.items()}
        compaction = compaction_due(policy, counters, last[MaintenanceTask.COMPACT])
        expiry = expiry_due(policy, counters, last[MaintenanceTask.EXPIRE], self._clock.now())
        groups = CompactionPlanner(self._tables.io, target.name, _automatic(policy)).plan(metadata)
        size = sum(group.bytes for group in groups)
        expired = len(self._maintenance.expiry_plan(target.version, metadata).snapshots)
        measured = mine[MaintenanceTask.COMPACT] or elsewhere
        manifests = self._tables.io.files.manifests(metadata.current_snapshot)
        advice = (
            Advice(
                MaintenanceTask.COMPACT,
                bool(compaction and groups),
                compaction or "too little would be gained",
                sum(len(group.files) for group in groups),
                size,
                predicted_seconds(MaintenanceTask.COMPACT, size, measured),
            ),
            Advice(
                MaintenanceTask.EXPIRE,
                bool(expiry and expired),
                expiry or "no snapshot is old, or too few are",
                expired,
                0,
                predicted_seconds(MaintenanceTask.EXPIRE, expired, ()),
            ),
            Advice(
                MaintenanceTask.REWRITE_MANIFESTS,
                _many(manifests),
                f"{len(manifests):,} manifests, of which {manifests_needed(manifests):,} are needed",
                len(manifests),
                sum(manifest.manifest_length for manifest in manifests),
                predicted_seconds(MaintenanceTask.REWRITE_MANIFESTS, sum(m.manifest_length for m in manifests), ()),
            ),
            self._statistics.advice(target, policy, mine[MaintenanceTask.REFRESH_STATISTICS]),
        )
        newest = sorted((run for runs in mine.values() for run in runs), key=lambda run: run.finished_at, reverse=True)
        return MaintenanceStatus(policy, counters, advice, tuple(newest[:10]))

    def configure(self, name: str, properties: Mapping[str, str | None]) -> MaintenancePolicy:
        """Change a dataset's maintenance policy: set table properties, or with None go back to their defaults.

        Raises:
            InvalidInputError: If a property is none of a policy's, or its value cannot be.
        """
        check_policy(properties)
        with self._commits.attempts(self._load(name)[0].version.id) as attempts:
            for attempt in attempts:
                with attempt:
                    target, metadata = self._load(name)
                    changed = {key: value for key, value in properties.items() if value is not None}
                    removed = tuple(key for key, value in properties.items() if value is None)
                    kept = {key: value for key, value in metadata.properties.items() if key not in removed}
                    policy = MaintenancePolicy.of({**kept, **changed})
                    policy = policy.under(metadata.with_changes(properties={**kept, **changed}))
                    CompactionPlanner(self._tables.io, target.name, _automatic(policy)).plan(metadata)
                    updates: list[Update] = [SetProperties(changed)] if changed else []
                    updates += [RemoveProperties(removed)] if removed else []
                    if updates:
                        self._commits.commit(target, CommitRequest(updates=tuple(updates)))
        return policy

    def maintain(self, version_id: UUID) -> None:
        """Do what a dataset version's policy wants done. What is not due is left."""
        with self._store.read() as tx:
            version = tx.dataset_versions.get(version_id)
            dataset = tx.datasets.get_by_id(version.dataset_id) if version else None
            last = {task: tx.maintenance.latest(version_id, task) for task in MaintenanceTask}
        if version is None or dataset is None or dataset.deleted_at is not None:
            return
        name = str(dataset.ref(version.number))
        metadata = self._tables.load(version)
        policy = MaintenancePolicy.or_usual(metadata.properties).under(metadata)
        counters = TableCounters.of(metadata)
        if not policy.enabled:
            return
        if reason := compaction_due(policy, counters, last[MaintenanceTask.COMPACT]):
            done = self._maintenance.compact(name, _automatic(policy))
            _log.info("compacted", dataset=name, reason=reason, files=done.files_rewritten, seconds=done.seconds)
        if reason := expiry_due(policy, counters, last[MaintenanceTask.EXPIRE], self._clock.now()):
            expired = self._maintenance.expire(name)
            _log.info("expired", dataset=name, reason=reason, snapshots=len(expired.snapshots), files=expired.files)
        if reason := statistics_due(policy, counters):
            counted = self._statistics.refresh(name)
            _log.info("counted", dataset=name, reason=reason, files=counted.files_read, seconds=counted.seconds)
        _, metadata = self._load(name)
        if _many(self._tables.io.files.manifests(metadata.current_snapshot)):
            self._maintenance.rewrite_manifests(name)

    def _load(self, name: str, needed: Privilege = Privilege.ALTER) -> tuple[ResolvedDataset, TableMetadata]:
        target = self._catalog.dataset(name, needed)
        return target, self._tables.load(target.version)


def _automatic(policy: MaintenancePolicy) -> CompactionOptions:
    """Return how a policy compacts."""
    return CompactionOptions(
        strategy=policy.strategy,
        columns=policy.columns,
        target_file_size=policy.target_file_size,
        delete_ratio=policy.delete_ratio,
        rewrite_all=False,
        tiered=True,
    )


def _many(manifests: Sequence[ManifestFile]) -> bool:
    """Tell whether rewriting manifests is worth a commit that nobody has asked for."""
    return len(manifests) >= max(_MANY_MANIFESTS, 2 * manifests_needed(manifests))
