"""Who relies on a dataset version: subscriptions and jobs, with the columns they read, filter and join by."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from uuid import UUID

from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.context import current
from cordillera.errors import BreakingChangeError, InvalidSqlError
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import Lifecycle
from cordillera.spec.contract import end_moment, parse_contract
from cordillera.spec.counting import counted
from cordillera.spec.names import DatasetRef
from cordillera.spec.query import dataset_names, names_in
from cordillera.spec.subscription import ENDED, Subscription
from cordillera.spec.workflow import Job

_PAGE, _MOST_JOBS = 500, 10_000


def consumers_of(
    tx: Transaction, target: ResolvedDataset, columns: Collection[str] | None = None
) -> Mapping[str, tuple[str, ...]]:
    """Return who relies on a dataset version, each with what of his does.

    Args:
        tx: The transaction.
        target: The dataset version.
        columns: Only those who read one of these columns, filter or join by it, or take every column there is.
    """
    found: dict[str, list[str]] = {}
    there = tx.dataset_versions.columns(target.version.id) if columns is not None else []
    present = {column.name.lower() for column in there}
    for one in _subscriptions(tx, target):
        if columns is None or _concerns(one, columns) or _names_others(one, target, present):
            use = f"subscription of {one.target}:{one.target_table}"
            found.setdefault(one.on_behalf_of or one.created_by, []).append(use)
    for job in _jobs(tx, target):
        if columns is None or _reads_views(tx, job) or _named(job.sql, columns):
            found.setdefault(job.on_behalf_of or job.owner, []).append(f"job:{job.name}")
    return {name: tuple(uses) for name, uses in found.items()}


def others(tx: Transaction, lookup: Lookup, consumers: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    """Return the consumers that whoever acts does not act for; nobody has to be asked for himself."""
    operator = lookup.viewer(tx) is None
    return {
        name: uses
        for name, uses in consumers.items()
        if name != current().principal and (operator or not lookup.authorizer.acts_for(tx, name))
    }


def refuse_while_promised(tx: Transaction, lookup: Lookup, target: ResolvedDataset, what: str) -> None:
    """Refuse to end a dataset version that a contract promises to others.

    Raises:
        BreakingChangeError: If the contract in force is not retired, and somebody relies on the dataset version.
    """
    document = tx.contracts.current(target.version.id)
    if document is None or parse_contract(document.text).status.lower() == "retired":
        return
    if concerned := others(tx, lookup, consumers_of(tx, target)):
        raise BreakingChangeError(
            f"{target.name} cannot be {what}: its contract promises it, and "
            f"{counted(len(concerned), 'consumer relies', 'consumers rely')} on it.",
            hint=f"Propose the contract with status: retired: cordillera contract propose {target.name} FILE.",
        )


def check_retirement(tx: Transaction, lookup: Lookup, target: ResolvedDataset, now: datetime, reason: str) -> str:
    """Refuse to retire a dataset version before its time.

    Args:
        tx: The transaction.
        lookup: Knows whom somebody speaks for.
        target: The dataset version.
        now: The time.
        reason: Why it is retired earlier than promised; empty to keep the promise.

    Returns:
        Until when it was promised, if that is overridden; else nothing.

    Raises:
        BreakingChangeError: If its contract promises it for longer; without a date, if somebody relies on it.
        AccessDeniedError: If whoever gives a reason does not administer it.
    """
    document = tx.contracts.current(target.version.id)
    promised = parse_contract(document.text).service_level.end_of_life if document else None
    if promised is None:
        refuse_while_promised(tx, lookup, target, "retired")
        return ""
    if end_moment(promised) < now:
        return ""
    if not reason.strip():
        raise BreakingChangeError(
            f"{target.pinned_name} cannot be retired: its contract promises it until {promised.isoformat()}.",
            hint="Wait until then, or say why not, with --reason; the audit log keeps it. Who relies on it: "
            f"cordillera dataset consumers {target.pinned_name}.",
        )
    lookup.require(tx, target.dataset, Privilege.ADMINISTER, version=target.version)
    return promised.isoformat()


def _subscriptions(tx: Transaction, target: ResolvedDataset) -> Iterator[Subscription]:
    after: UUID | None = None
    while page := tx.subscriptions.page(dataset_id=target.dataset.id, after=after, limit=_PAGE):
        yield from (one for one in page if one.dataset_version_id == target.version.id and one.state not in ENDED)
        after = page[-1].id


def _jobs(tx: Transaction, target: ResolvedDataset) -> Iterator[Job]:
    """Yield the jobs that read a dataset version, by name or through views, whether they are enabled or not."""
    dataset = target.dataset.full_name
    for name in tx.jobs.naming(dataset, _MOST_JOBS):
        job = tx.jobs.get(name)
        if job is None or job.output == dataset:
            continue
        named = {ref.version for ref in _refs(job) if ref.full_name == dataset}
        active = target.version.lifecycle is Lifecycle.ACTIVE
        if not named or target.version.number in named or (None in named and active):
            yield job


def _reads_views(tx: Transaction, job: Job) -> bool:
    """Tell whether names in a job's query may be those that a view gives to columns."""
    return any(tx.views.get(ref.namespace, ref.name) is not None for ref in _refs(job))


def _refs(job: Job) -> set[DatasetRef]:
    """Return what a job's query names: datasets, dataset versions and views."""
    try:
        return set(dataset_names(job.sql))
    except InvalidSqlError:
        return set()


def _concerns(subscription: Subscription, columns: Collection[str]) -> bool:
    wanted = {name.lower() for name in subscription.columns}
    read = not wanted or bool(wanted & {name.lower() for name in columns})
    return read or (subscription.row_filter != "" and _named(f"SELECT 1 WHERE {subscription.row_filter}", columns))


def _names_others(subscription: Subscription, target: ResolvedDataset, present: Collection[str]) -> bool:
    """Tell whether a subscription names columns that are called otherwise since it was last delivered to: any may be
    meant."""
    if subscription.cursor_schema_id in (None, target.version.schema_id):
        return False
    filtered = names_in(f"SELECT 1 WHERE {subscription.row_filter}") if subscription.row_filter else frozenset()
    wanted = {name.lower() for name in subscription.columns}
    return filtered is None or not (wanted | filtered).issubset(present)


def _named(sql: str, columns: Collection[str]) -> bool:
    names = names_in(sql)
    return names is None or bool(names & {name.lower() for name in columns})
