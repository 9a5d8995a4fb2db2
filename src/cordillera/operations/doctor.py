"""The doctor: what is wrong with a lake, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cordillera.catalog.lookup import Lookup
from cordillera.catalog.tables import TableService
from cordillera.context import current
from cordillera.errors import CordilleraError
from cordillera.maintenance.orphans import OrphanService
from cordillera.operations.dispatch import HANDLE_EVENT
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.counting import counted
from cordillera.spec.subscription import SubscriptionState
from cordillera.subscriptions.service import SubscriptionService

_PAGE = 500
_ORPHAN_AGE = timedelta(hours=24)
_SLOW_TASK = timedelta(minutes=10)


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check: what was looked at, what was found, what to do."""

    check: str
    verdict: Verdict
    message: str
    hint: str = ""


class DoctorService:
    """Examines a lake without changing it.

    Args:
        store, tables, subscriptions, orphans: What is examined.
        lookup: Knows who may examine it.
        clock: Time.
    """

    def __init__(
        self,
        store: MetadataStore,
        tables: TableService,
        subscriptions: SubscriptionService,
        orphans: OrphanService,
        lookup: Lookup,
        clock: Clock,
    ) -> None:
        self._store, self._tables, self._lookup = store, tables, lookup
        self._subscriptions, self._orphan_files, self._clock = subscriptions, orphans, clock

    def examine(self, *, files: bool = True) -> list[Finding]:
        """Run every check.

        Args:
            files: Also look for files that no snapshot refers to, which lists everything in the storage. The other
                checks take the same time in a lake of any size.

        Raises:
            AccessDeniedError: If whoever asks does not administer the lake.
        """
        if not current().operator:  # who may examine it also where the database does not answer
            with self._store.read() as tx:
                self._lookup.lake(tx, Privilege.ADMINISTER)
        checks: list[tuple[str, Callable[[], Finding]]] = [
            ("metadata", self._metadata),
            ("storage", self._storage),
            ("events", self._events),
            ("tasks", self._tasks),
            ("targets", self._targets),
            ("subscriptions", self._failed_subscriptions),
        ]
        if files:
            checks.append(("orphans", self._orphans))
        findings = []
        for name, check in checks:
            try:
                findings.append(check())
            except CordilleraError as error:
                findings.append(Finding(name, Verdict.ERROR, error.message, error.hint))
        return findings

    # --- checks --------------------------------------------------------------------------------------------------

    def _metadata(self) -> Finding:
        self._store.check_schema()
        with self._store.read() as tx:
            count = tx.datasets.count()
        return Finding(
            "metadata",
            Verdict.OK,
            f"The database answers, its schema is current, it holds {counted(count, 'dataset')}.",
        )

    def _storage(self) -> Finding:
        storage = self._tables.io.storage
        probe = f"{storage.root}/doctor-{self._clock.new_id()}"
        storage.write(probe, b"ok")
        try:
            intact = storage.read(probe) == b"ok"
        finally:
            storage.delete([probe])
        if intact:
            return Finding("storage", Verdict.OK, f"{storage.root} can be written and read.")
        return Finding("storage", Verdict.ERROR, f"{storage.root} gave back other bytes than were written.")

    def _events(self) -> Finding:
        with self._store.read() as tx:
            waiting = tx.events.unhandled_count()
            aside = sum(count for (kind, _), count in tx.tasks.counts().items() if kind == HANDLE_EVENT)
        if aside:
            message = f"{counted(aside, 'event')} could not be handled, and will be tried again."
            hint = f"See why with: cordillera task list (kind {HANDLE_EVENT}); report it if an upgrade does not help."
            return Finding("events", Verdict.ERROR, message, hint)
        if waiting:
            message = f"{counted(waiting, 'event waits', 'events wait')} to be handled."
            return Finding("events", Verdict.WARNING, message, "Start a worker: cordillera worker.")
        return Finding("events", Verdict.OK, "No event waits.")

    def _tasks(self) -> Finding:
        now = self._clock.now()
        with self._store.read() as tx:
            counts, oldest = tx.tasks.counts(), tx.tasks.oldest_due(now)
        failed = sum(count for (_, state), count in counts.items() if state == "failed")
        if failed:
            hint = "Look at them: cordillera run list --state failed, cordillera subscription list --state failed."
            return Finding("tasks", Verdict.ERROR, f"{counted(failed, 'task was', 'tasks were')} given up.", hint)
        if oldest is not None and now - oldest > _SLOW_TASK:
            message = f"A task has been due since {oldest:%Y-%m-%d %H:%M:%S} UTC."
            return Finding("tasks", Verdict.WARNING, message, "Start a worker: cordillera worker.")
        under_way = sum(counts.values())
        return Finding("tasks", Verdict.OK, f"{counted(under_way, 'task waits or runs', 'tasks wait or run')}.")

    def _targets(self) -> Finding:
        unreachable = []
        for target in self._subscriptions.targets(limit=_PAGE):
            try:
                self._subscriptions.check_target(target.name)
            except CordilleraError as error:
                unreachable.append(f"{target.name} ({error.message})")
        if unreachable:
            hint = "Start or repair them; deliveries catch up by themselves."
            return Finding("targets", Verdict.ERROR, f"Targets not reachable: {'; '.join(unreachable)}", hint)
        return Finding("targets", Verdict.OK, "Every target is reachable.")

    def _failed_subscriptions(self) -> Finding:
        failed = self._subscriptions.subscriptions(state=SubscriptionState.FAILED, limit=_PAGE)
        if failed:
            named = "; ".join(f"{s.subscription.dataset} → {s.subscription.target}" for s in failed[:5])
            hint = (
                "See the reason with: cordillera subscription show ID; resume with: cordillera subscription resume ID."
            )
            how_many = counted(len(failed), "subscription has", "subscriptions have")
            return Finding("subscriptions", Verdict.ERROR, f"{how_many} failed: {named}.", hint)
        return Finding("subscriptions", Verdict.OK, "No subscription has failed.")

    def _orphans(self) -> Finding:
        count = size = 0
        for orphan in self._orphan_files.find(_ORPHAN_AGE):
            count, size = count + 1, size + orphan.bytes
        if count:
            message = f"{counted(count, 'file belongs', 'files belong')} to no snapshot: {counted(size, 'byte')}."
            hint = "List them with: cordillera doctor --orphans; remove them with: cordillera doctor --remove-orphans."
            return Finding("orphans", Verdict.WARNING, message, hint)
        return Finding("orphans", Verdict.OK, "Every file older than a day belongs to a snapshot.")
