"""To refuse what somebody may not discover takes the same work whatever is hidden: counted, as no clock is exact."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.adapters.db import seen
from cordillera.adapters.db.catalog import DATASET
from cordillera.adapters.db.schema import datasets, events, jobs, runs, subscriptions
from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.adapters.db.subscriptions import SUBSCRIPTION
from cordillera.adapters.db.workflows import JOB, RUN
from cordillera.catalog.lookup import Lookup
from cordillera.context import acting
from cordillera.errors import NotFoundError
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import LAKE_ID, Grant, PolicyTag, Privilege, SecurableKind
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.event import Topic
from cordillera.spec.lineage import Edge, Node, NodeKind
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.workflow import Job, RunState
from cordillera.testing.metadata_samples import (
    NOW,
    add_dataset,
    append_event,
    dataset,
    job,
    later,
    namespace,
    run,
    subscription,
    target,
    view,
)

OTHER, GUEST, STAFF = "user:other", "user:guest", "user:staff"
"""Whose all is; who was granted, and owns, a dataset; who was granted datasets by their policy tags."""
HIDDEN_SUBSCRIPTION = UUID(int=5)
LAST_SUBSCRIPTIONS = {who: UUID(int=2**128 - 1 - place) for place, who in enumerate((GUEST, STAFF))}
"""They come behind all others in a list."""
FEW, MANY, DATASETS = 3, 40, 1000
"""How many objects are hidden of each kind the first time and the second, and then datasets in one namespace."""
SLACK = {"sqlite": 10, "postgres": 200}
"""By so much work may differ: by less than a step for each object; PostgreSQL looks through tables that are small."""


class FixedClock:
    def now(self) -> Any:
        return NOW


LOOKUP = Lookup(GrantAuthorizer(FixedClock()))
LOOKUPS: dict[str, tuple[Callable[[Transaction, str], object], str, str]] = {
    "a namespace": (LOOKUP.namespace, "big", "off"),
    "a namespace within": (LOOKUP.namespace, "big.hidden", "big.absent"),
    "a dataset": (lambda tx, name: LOOKUP.dataset(tx, parse_dataset_ref(name)), "big.hidden0", "off.hidden0"),
    "a dataset version": (lambda tx, name: LOOKUP.resolve(tx, parse_dataset_ref(name)), "big.hidden0_v1", "off.no_v1"),
    "a view": (lambda tx, name: LOOKUP.view(tx, parse_dataset_ref(name)), "big.view0", "off.view0"),
    "a target": (LOOKUP.target, "target0", "nowhere"),
    "a subscription": (
        lambda tx, number: LOOKUP.subscription(tx, UUID(int=int(number))),
        str(HIDDEN_SUBSCRIPTION.int),
        "99",
    ),
}
"""How to look something up, the name of one that is hidden, and of one that is not there."""

SEEN = {
    GUEST: {
        "namespaces": ["open"],
        "datasets": ["open.mine", "open.shown"],
        "jobs": ["z.reading", f"z.{GUEST}"],
    },
    STAFF: {
        "namespaces": ["open", "tags"],
        "datasets": ["open.mine", "open.shown", "tags.shown"],
        "jobs": [f"z.{STAFF}"],
    },
}
LISTS: dict[str, Callable[[Transaction], list[str]]] = {
    "namespaces": lambda tx: [one.name for one in tx.namespaces.page("", 9, viewer=LOOKUP.viewer(tx))],
    "namespaces within none": lambda tx: [
        one.name for one in tx.namespaces.page("", 9, parent="", viewer=LOOKUP.viewer(tx))
    ],
    "datasets": lambda tx: _names(tx.datasets.page(None, "", 9, viewer=LOOKUP.viewer(tx))),
    "datasets of a namespace": lambda tx: _names(tx.datasets.page("open", "", 9, viewer=LOOKUP.viewer(tx))),
    "deleted datasets": lambda tx: _names(tx.datasets.page("open", "", 9, deleted=True, viewer=LOOKUP.viewer(tx))),
    "views": lambda tx: _names(tx.views.page(None, "", 9, viewer=LOOKUP.viewer(tx))),
    "views of a namespace": lambda tx: _names(tx.views.page("open", "", 9, viewer=LOOKUP.viewer(tx))),
    "events": lambda tx: [one.payload["snapshot"] for one in tx.events.page(limit=3, viewer=LOOKUP.viewer(tx))],
    "events of a name": lambda tx: _events_of(tx, "sales.orders"),
    "events of a hidden name": lambda tx: _events_of(tx, "big.hidden0"),
    "subscriptions": lambda tx: [one.target_table for one in tx.subscriptions.page(limit=9, viewer=LOOKUP.viewer(tx))],
    "jobs": lambda tx: [one.name for one in tx.jobs.page("", 9, viewer=LOOKUP.viewer(tx))],
    "runs": lambda tx: _runs(tx, state=None),
    "runs of a partition": lambda tx: _runs(tx, partition="day 1"),
    "runs that succeeded": lambda tx: _runs(tx, state=RunState.SUCCEEDED),
    "runs that failed": lambda tx: _runs(tx, state=RunState.FAILED),
    "targets": lambda tx: [one.name for one in tx.targets.page("", 9, viewer=LOOKUP.viewer(tx))],
}


def _events_of(tx: Transaction, name: str) -> list[Any]:
    return [one.payload["snapshot"] for one in tx.events.page(dataset=name, limit=3, viewer=LOOKUP.viewer(tx))]


def _runs(tx: Transaction, **wanted: Any) -> list[str]:
    return [f"{one.job} {one.partition}" for one in tx.runs.page(limit=2, viewer=LOOKUP.viewer(tx), **wanted)]


GOES = ("events", "subscriptions", "jobs", "runs")
"""Lists that go by what is seen on PostgreSQL too, which may walk others in their order."""


def _names(found: Any) -> list[str]:
    return [one.full_name for one in found]


@pytest.fixture(params=["sqlite_url", "own_postgres_url"])
def store(request: pytest.FixtureRequest) -> Iterator[SqlMetadataStore]:
    store = _filled(str(request.getfixturevalue(request.param)))
    yield store
    store.close()


def _filled(url: str) -> SqlMetadataStore:
    store = SqlMetadataStore(url)
    with store.write() as tx:
        spaces = [replace(namespace(name), owner=OTHER, id=uuid4()) for name in ("big", "big.hidden", "open", "tags")]
        for space in spaces:
            tx.namespaces.insert(space)
        open_, tags = spaces[2:]
        tx.policy_tags.put(PolicyTag(SecurableKind.NAMESPACE, tags.id, "", "", "level", "low", OTHER, NOW))
        tx.grants.put(_grant(STAFF, LAKE_ID, SecurableKind.LAKE, "level = 'low' and not domain = 'hr'"))
        tx.grants.put(_grant(STAFF, open_.id, SecurableKind.NAMESPACE, "level is null"))
        add_dataset(tx, "tags.shown", owner=OTHER)
        for name, of_level, value in (("high", "level", "high"), ("hr", "domain", "hr")):
            one, _ = add_dataset(tx, f"tags.{name}", owner=OTHER)
            tx.policy_tags.put(PolicyTag(SecurableKind.DATASET, one.id, "", "", of_level, value, OTHER, NOW))
        shown, seen_version = add_dataset(tx, "open.shown", owner=OTHER)
        add_dataset(tx, "open.mine", owner=GUEST)
        tx.grants.put(_grant(GUEST, shown.id))
        hidden, version = add_dataset(tx, "big.hidden0", owner=OTHER)
        tx.policy_tags.put(PolicyTag(SecurableKind.DATASET, hidden.id, "", "", "level", "high", OTHER, NOW))
        tx.targets.insert(target())
        tx.targets.insert(target("target0"))
        tx.views.insert(view("big.view0"))
        tx.subscriptions.insert(subscription(hidden, version, id=HIDDEN_SUBSCRIPTION, created_by=OTHER))
        for who in SEEN:
            tx.subscriptions.insert(subscription(shown, seen_version, who, created_by=who, id=LAST_SUBSCRIPTIONS[who]))
        for number in range(5):
            append_event(tx, (seen_version if number != 3 else version).id, snapshot=number)
        for who in SEEN:
            _add_jobs(tx, [job(f"z.{who}", owner=who)], NOW)
        for name, read in (
            ("reading", "open.shown"),
            ("told", "big.hidden0"),
        ):  # of which nobody sees all that it reads
            tx.jobs.insert(job(f"z.{name}", owner=OTHER))
            tx.lineage.put([_edge(one, f"z.{name}") for one in ("open.mine", read)], NOW)
        _add_hidden(tx, hidden, version, 2 * seen.FIRST_BOUND)
    return store


def _hide(store: SqlMetadataStore, numbers: range, datasets_besides: int = 0) -> None:
    """Add, for each number, one object of each kind that somebody else has; and then many datasets to a namespace."""
    with store.write() as tx:
        there = {one.full_name: one for one in tx.datasets.page(None, "", 9)}
        hidden, shown = there["big.hidden0"], there["open.shown"]
        (version,) = tx.dataset_versions.page(hidden.id)
        made = [dataset(f"big.besides{number}", owner=OTHER) for number in range(datasets_besides)]
        for number in numbers:
            tx.namespaces.insert(replace(namespace(f"big.space{number}"), owner=OTHER))
            tx.namespaces.insert(replace(namespace(f"space{number}"), owner=OTHER))
            for space in ("big", "open", f"space{number}"):
                made.append(dataset(f"{space}.hidden{number}", owner=OTHER))
                made.append(dataset(f"{space}.gone{number}", owner=OTHER, deleted_at=NOW, purge_after=NOW))
                tx.views.insert(view(f"{space}.view{number}"))
            tx.targets.insert(target(f"target{number}"))
            tx.policy_tags.put(
                PolicyTag(SecurableKind.DATASET, hidden.id, "", f"column{number}", "level", "high", OTHER, NOW)
            )
            for on in (hidden, shown):
                tx.grants.put(_grant(f"user:{number}", on.id))
        _add_hidden(tx, hidden, version, len(made))
        tagged = sa.select(datasets.c.tag_set).where(datasets.c.full_name.in_(["tags.high", "tags.hr"]))
        sets = [row.tag_set for row in tx.session.read(tagged)]
        derived = [{"full_name": one.full_name, "tag_set": sets[place % 2]} for place, one in enumerate(made)]
        rows = [{**DATASET.values(one), **more} for one, more in zip(made, derived, strict=True)]
        tx.session.connection.execute(sa.insert(datasets), rows)
        if tx.session.is_postgres:
            tx.session.write(sa.text("ANALYZE"))  # as it does by itself; SQLite does not


def _add_hidden(tx: Transaction, hidden: Dataset, version: DatasetVersion, number: int) -> None:
    """Add events of a dataset and of its dataset version, which once had the name that others are told of by, too;
    subscriptions to it, and jobs that read it.
    """
    common = {"topic": Topic.SNAPSHOT_COMMITTED, "at": NOW, "principal": "", "trace_id": "", "payload": {}}
    about = ((hidden.full_name, version.id), (hidden.full_name, None), ("sales.orders", version.id))
    told = [{**common, "dataset": name, "dataset_version_id": of} for name, of in about]
    tx.session.connection.execute(sa.insert(events), told * number)
    made = (subscription(hidden, version, f"t{uuid4()}", created_by=OTHER) for _ in range(number))
    rows = [{**SUBSCRIPTION.values(one), "updated_at": NOW} for one in made]
    tx.session.connection.execute(sa.insert(subscriptions), rows)
    working = [job(f"j.{uuid4()}", owner=OTHER) for _ in range(number)]
    _add_jobs(tx, working, later(9))
    tx.lineage.put([_edge(hidden.full_name, one.name) for one in working], NOW)


def _add_jobs(tx: Transaction, made: Sequence[Job], at: datetime) -> None:
    """Add jobs with three runs each, of which the second has failed."""
    tx.session.connection.execute(sa.insert(jobs), [JOB.values(one) for one in made])
    states = (RunState.SUCCEEDED, RunState.FAILED, RunState.SUCCEEDED)
    ran = [
        run(one, f"day {day}", state=state, created_at=at + timedelta(seconds=day))
        for one in made
        for day, state in enumerate(states)
    ]
    tx.session.connection.execute(sa.insert(runs), [{**RUN.values(one), "input_state": ""} for one in ran])


def _edge(dataset_name: str, job_name: str) -> Edge:
    return Edge(Node(NodeKind.DATASET, dataset_name), Node(NodeKind.JOB, job_name))


def _grant(holder: str, on: UUID, kind: SecurableKind = SecurableKind.DATASET, tagged: str = "") -> Grant:
    return Grant(uuid4(), holder, Privilege.READ, kind, on, "", tagged, False, "", NOW, None, "")


def _slack(store: SqlMetadataStore) -> int:
    return SLACK[store._database.reader.dialect.name.removesuffix("ql")]


def _work(store: SqlMetadataStore, who: str, call: Callable[[Transaction], object]) -> int:
    """Return the steps that SQLite makes for a call, or the rows that PostgreSQL touches for it."""
    with store.read() as tx, acting(who):
        call(tx)  # what is put together once is there by now
        count = _rows_touched if tx.session.is_postgres else _steps
        return count(tx.session.connection, lambda: call(tx))


def _steps(connection: sa.Connection, call: Callable[[], object]) -> int:
    driver: Any = connection.connection.driver_connection
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    driver.set_progress_handler(step, 1)
    try:
        call()
    finally:
        driver.set_progress_handler(None, 0)
    return steps


def _rows_touched(connection: sa.Connection, call: Callable[[], object]) -> int:
    made: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        made.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    try:
        call()
    finally:
        event.remove(connection, "before_cursor_execute", note)
    cursor = connection.connection.cursor()
    for plan in ("seqscan", "mergejoin"):  # to read all of a table is faster while it is small, as they are here
        cursor.execute(f"SET LOCAL enable_{plan} = off")
    rows = 0
    for statement, parameters in made:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters)
        told = cursor.fetchone()[0]
        rows += _rows_of((json.loads(told) if isinstance(told, str) else told)[0]["Plan"])
    return rows


def _rows_of(plan: dict[str, Any]) -> int:
    mine = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    return int(mine * plan["Actual Loops"]) + sum(map(_rows_of, plan.get("Plans", ())))


def test_what_is_hidden_costs_what_is_not_there_however_much_of_it_there_is(store: SqlMetadataStore) -> None:
    def refused(find: Callable[[Transaction, str], object], name: str) -> Callable[[Transaction], None]:
        def call(tx: Transaction) -> None:
            with pytest.raises(NotFoundError):
                find(tx, name)

        return call

    def work() -> dict[tuple[str, str], tuple[int, int]]:
        return {
            (who, what): (_work(store, who, refused(find, hidden)), _work(store, who, refused(find, absent)))
            for what, (find, hidden, absent) in LOOKUPS.items()
            for who in SEEN
        }

    _hide(store, range(1, FEW))
    little = work()
    _hide(store, range(FEW, MANY), DATASETS)
    much, slack = work(), _slack(store)
    for what, (hidden, absent) in much.items():
        assert (hidden, absent) == pytest.approx(little[what], abs=slack), what
        assert hidden <= 2.1 * absent + slack, what


def test_lists_do_not_take_longer_for_what_is_not_in_them(store: SqlMetadataStore) -> None:
    for who, held in SEEN.items():
        with store.read() as tx, acting(who):
            assert {name: find(tx) for name, find in LISTS.items()} == {
                "namespaces": held["namespaces"],
                "namespaces within none": held["namespaces"],
                "datasets": held["datasets"],
                "datasets of a namespace": ["open.mine", "open.shown"],
                "deleted datasets": [],
                "views": [],
                "views of a namespace": [],
                "events": [4, 2, 1],
                "events of a name": [4, 2, 1],
                "events of a hidden name": [],
                "subscriptions": [who],
                "jobs": held["jobs"],
                "runs": [f"z.{who} day 2", f"z.{who} day 1"],
                "runs of a partition": [f"z.{who} day 1"],
                "runs that succeeded": [f"z.{who} day 2", f"z.{who} day 0"],
                "runs that failed": [f"z.{who} day 1"],
                "targets": [],
            }

    embedded = store._database.file is not None
    names = [name for name in LISTS if embedded or name.startswith(GOES)]

    def work() -> dict[tuple[str, str], int]:
        return {(who, name): _work(store, who, LISTS[name]) for name in names for who in SEEN}

    _hide(store, range(1, FEW))
    little = work()
    _hide(store, range(FEW, MANY), DATASETS)
    for what, much in work().items():
        assert much <= little[what] + _slack(store), what
