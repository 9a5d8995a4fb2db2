"""Breaking changes are asked about, and come when they may: nobody is passed over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from starlette.datastructures import QueryParams

from cordillera.app import Application
from cordillera.client import Dataset, Lake
from cordillera.context import acting
from cordillera.errors import (
    AccessDeniedError,
    BreakingChangeError,
    ContractProposalNotFoundError,
    InvalidContractError,
    InvalidInputError,
    NotAllowedError,
)
from cordillera.spec.contract_proposal import ProposalState
from cordillera.spec.schema_evolution import DropColumn
from cordillera.spec.workflow import WantedJob
from cordillera.testing import metadata_samples as samples
from cordillera.web.dataset_tabs import TABS, begin_visit
from tests.conftest import MovableClock, app_of

SCHEMA = {"id": pa.int64(), "note": pa.string(), "total": pa.int64(), "day": pa.date32()}


@pytest.fixture
def app(timed_lake: Lake) -> Application:
    return app_of(timed_lake)


@pytest.fixture
def orders(timed_lake: Lake) -> Dataset:
    timed_lake.create_namespace("sales")
    orders = timed_lake.create_dataset("sales.orders", SCHEMA, key=["id"])
    orders.put_contract(timed_lake.backend.draft_contract("sales.orders"))
    for person in ("user:ana", "user:bob"):
        timed_lake.grant(person, "discover", "sales.orders")
    with _transaction(timed_lake) as tx:
        tx.targets.insert(samples.target())
    return orders


def _transaction(lake: Lake) -> Any:
    return app_of(lake).store.write()


@pytest.fixture
def subscribe(timed_lake: Lake, orders: Dataset) -> Callable[..., None]:
    def made(person: str, **changes: Any) -> None:
        details = orders.details()
        wanted = {"columns": (), "row_filter": "", "on_behalf_of": person, "target_table": f"t{uuid4().hex}", **changes}
        with _transaction(timed_lake) as tx:
            tx.subscriptions.insert(samples.subscription(details.dataset, details.version, **wanted))

    return made


def without(orders: Dataset, column: str) -> str:
    """Return the contract in force without a column."""
    head, marker, rest = orders.contract().text.partition(f"  - name: {column}\n")
    assert marker
    return head + (rest[rest.index("  - name:") :] if "  - name:" in rest else "")


def test_nobody_is_passed_over(orders: Dataset, subscribe: Callable[..., None]) -> None:
    subscribe("user:bob", columns=("id", "note"))
    with pytest.raises(BreakingChangeError, match="1 consumer relies"):
        orders.put_contract(without(orders, "note"))
    with pytest.raises(InvalidContractError):
        orders.evolve(DropColumn("note"))
    with pytest.raises(BreakingChangeError, match="cannot be deleted"):
        orders.delete()
    assert orders.contract().revision == 1
    orders.put_contract(orders.contract().text + "\ntenant: us\n")
    assert orders.put_contract(without(orders, "total")).revision == 3, "nobody reads that column"


@pytest.mark.parametrize(
    "reads",
    [
        {"columns": ()},
        {"columns": ("id", "note")},
        {"columns": ("id",), "row_filter": "note IS NOT NULL"},
        {"columns": ("id", "what_note_was"), "cursor_schema_id": 7},
    ],
)
def test_who_takes_or_filters_by_a_column_is_concerned(
    orders: Dataset, subscribe: Callable[..., None], reads: dict[str, Any]
) -> None:
    subscribe("user:bob", **reads)
    subscribe("user:ana", columns=("id", "total"), cursor_schema_id=7)
    made = orders.propose_contract(without(orders, "note"), reason="never filled")
    assert made.waiting_for == ("user:bob",)


@pytest.mark.parametrize(
    ("sql", "concerned"),
    [
        ("SELECT id FROM sales.orders WHERE note = 'x'", True),
        ("SELECT a.id FROM sales.orders a JOIN sales.orders b USING (note)", True),
        ("SELECT * FROM sales.orders", True),
        ("SELECT id, total FROM sales.orders", False),
        ("SELECT id, count(*) AS n FROM sales.orders GROUP BY id", False),
    ],
)
def test_jobs_are_concerned_by_columns_they_filter_and_join_by(
    timed_lake: Lake, orders: Dataset, sql: str, concerned: bool
) -> None:
    with _transaction(timed_lake) as tx:
        tx.jobs.insert(samples.job(sql=sql, inputs=("sales.orders",), owner="team:ops"))
    if not concerned:
        assert orders.put_contract(without(orders, "note")).revision == 2
        return
    made = orders.propose_contract(without(orders, "note"), reason="never filled")
    assert [(one.consumer, one.uses) for one in made.consumers] == [("team:ops", ("job:sales.daily",))]


def test_it_takes_effect_when_everybody_has_acknowledged(
    timed_lake: Lake, orders: Dataset, subscribe: Callable[..., None]
) -> None:
    for person in ("user:ana", "user:bob"):
        subscribe(person)
    made = orders.propose_contract(without(orders, "note"), reason="never filled")
    with acting("user:ana"):
        seen = orders.acknowledge_proposal(made.id, "fine")
        assert [one.consumer for one in seen.consumers] == ["user:ana"], "who else relies on it is not hers to know"
        with pytest.raises(AccessDeniedError):
            orders.acknowledge_proposal(made.id)
        with pytest.raises(AccessDeniedError):
            orders.override_proposal(made.id, "now")
    assert orders.contract().revision == 1
    with acting("user:bob"):
        assert orders.acknowledge_proposal(made.id).state is ProposalState.IN_FORCE
    assert (orders.contract().revision, orders.contract().put_by) == (2, made.proposed_by)
    orders.evolve(DropColumn("note"))
    with pytest.raises(NotAllowedError, match="in force"):
        orders.withdraw_proposal(made.id)
    actions = [entry.action for entry in timed_lake.backend.audit(object_name="sales.orders")]
    assert actions.count("contract.acknowledge") == 2
    assert "contract.take_effect" in actions


def test_who_comes_to_be_concerned_is_asked_too(orders: Dataset, subscribe: Callable[..., None]) -> None:
    subscribe("user:ana")
    made = orders.propose_contract(without(orders, "note"), reason="never filled")
    subscribe("user:bob")
    with acting("user:ana"):
        assert orders.acknowledge_proposal(made.id).state is ProposalState.OPEN
    [now] = orders.contract_proposals()
    assert now.waiting_for == ("user:bob",)
    with acting("user:bob"):
        assert orders.acknowledge_proposal(made.id).state is ProposalState.IN_FORCE


def test_a_revised_proposal_is_asked_anew(orders: Dataset, subscribe: Callable[..., None]) -> None:
    for person in ("user:ana", "user:bob"):
        subscribe(person)
    first = orders.propose_contract(without(orders, "note"), reason="never filled")
    with acting("user:ana"):
        orders.acknowledge_proposal(first.id)
    second = orders.propose_contract(without(orders, "total"), reason="that one")
    assert second.waiting_for == ("user:ana", "user:bob")
    assert [one.state for one in orders.contract_proposals()] == [ProposalState.OPEN, ProposalState.VOID]
    with acting("user:bob"), pytest.raises(NotAllowedError, match="void"):
        orders.acknowledge_proposal(first.id)
    orders.put_contract(orders.contract().text + "\ntenant: us\n")
    assert orders.contract_proposals()[0].state is ProposalState.VOID, "it was compared with another contract"


def test_a_deadline_passes_as_was_said(
    app: Application, orders: Dataset, subscribe: Callable[..., None], clock: MovableClock
) -> None:
    subscribe("user:bob")
    made = orders.propose_contract(without(orders, "note"), reason="never filled", days=7)
    assert made.deadline is not None
    assert timedelta(days=7) - (made.deadline - made.proposed_at) < timedelta(seconds=1)
    clock.advance(days=6)
    assert app.proposals.follow_up() == 0
    clock.advance(days=2)
    assert (app.proposals.follow_up(), app.proposals.follow_up()) == (1, 0)
    [found] = orders.contract_proposals()
    assert (found.state, found.outcome) == (ProposalState.IN_FORCE, "Its deadline passed.")
    assert orders.contract().revision == 2


def test_an_owner_overrides_with_a_reason(timed_lake: Lake, orders: Dataset, subscribe: Callable[..., None]) -> None:
    subscribe("user:bob")
    made = orders.propose_contract(without(orders, "note"), reason="never filled")
    with pytest.raises(InvalidInputError):
        orders.override_proposal(made.id, " ")
    assert orders.override_proposal(made.id, "a legal order").state is ProposalState.IN_FORCE
    entries = {entry.action: entry.details for entry in timed_lake.backend.audit(object_name="sales.orders")}
    assert entries["contract.override"]["reason"] == "a legal order"


def test_what_does_not_fit_any_more_is_void(orders: Dataset, subscribe: Callable[..., None]) -> None:
    subscribe("user:bob", columns=("id", "note"))
    orders.put_contract(without(orders, "total"))
    both = orders.contract().text.replace("  - name: note", "  - name: total\n    logicalType: integer\n  - name: note")
    made = orders.propose_contract(
        both.replace("logicalType: string", "logicalType: string\n    classification: restricted"),
        reason="it is secret",
    )
    orders.evolve(DropColumn("total"))
    with acting("user:bob"):
        assert orders.acknowledge_proposal(made.id).state is ProposalState.VOID


def test_what_nobody_relies_on_needs_no_proposal(orders: Dataset, subscribe: Callable[..., None]) -> None:
    with pytest.raises(NotAllowedError, match="nobody"):
        orders.propose_contract(without(orders, "note"), reason="never filled")
    subscribe("user:bob")
    with pytest.raises(InvalidInputError):
        orders.propose_contract(without(orders, "note"), reason="")
    with pytest.raises(ContractProposalNotFoundError):
        orders.withdraw_proposal(uuid4())
    retired = (
        orders.contract().text.replace("status: active", "status: retired").replace("status: draft", "status: retired")
    )
    made = orders.propose_contract(retired, reason="replaced by another")
    orders.override_proposal(made.id, "agreed at the meeting")
    orders.delete()


def test_a_job_behind_a_view_is_concerned(timed_lake: Lake, orders: Dataset) -> None:
    timed_lake.create_view("sales.seen", "SELECT id, note AS remark, day FROM sales.orders")
    timed_lake.create_dataset("sales.copy", {"id": pa.int64(), "remark": pa.string(), "day": pa.date32()})
    timed_lake.backend.create_job(
        WantedJob(
            "sales.copying",
            "SELECT id, remark, day FROM sales.seen",
            output="sales.copy",
            inputs=("sales.orders",),
            output_condition="day = CAST($partition AS DATE)",
            owner="team:ops",
        )
    )
    made = orders.propose_contract(without(orders, "note"), reason="never filled")
    assert made.waiting_for == ("team:ops",)
    timed_lake.backend.set_job_enabled("sales.copying", False)
    with pytest.raises(BreakingChangeError):
        orders.put_contract(without(orders, "note"))


def test_nobody_is_asked_about_what_he_proposes_himself(
    timed_lake: Lake, orders: Dataset, subscribe: Callable[..., None]
) -> None:
    timed_lake.add_member("role:sellers", "user:ana")
    timed_lake.grant("user:ana", "administer", "sales.orders")
    subscribe("role:sellers")
    subscribe("user:bob")
    with acting("user:ana"):
        made = orders.propose_contract(without(orders, "note"), reason="never filled")
    assert made.waiting_for == ("user:bob",)
    assert {one.consumer: one.acknowledged_by for one in made.consumers} == {"role:sellers": "user:ana", "user:bob": ""}
    with acting("user:bob"):
        assert orders.acknowledge_proposal(made.id).state is ProposalState.IN_FORCE


def test_everybody_finds_what_waits_for_him(timed_lake: Lake, orders: Dataset, subscribe: Callable[..., None]) -> None:
    timed_lake.add_member("role:sellers", "user:ana")
    subscribe("role:sellers")
    subscribe("user:bob")
    made = orders.propose_contract(without(orders, "note"), reason="never filled")

    def waiting(person: str) -> list[tuple[str, list[str]]]:
        with acting(person):
            return [
                (one.dataset, [asked.consumer for asked in one.proposal.consumers])
                for one in timed_lake.awaited_proposals()
            ]

    assert waiting("user:ana") == [("sales.orders_v1", ["role:sellers"])], "of others he is told nothing"
    assert waiting("user:eve") == []

    def may_acknowledge_on_the_page(person: str) -> bool:
        with acting(person):
            visit = begin_visit(timed_lake.backend, "sales.orders", QueryParams(), datetime.now(UTC), "")
            return bool(TABS["contract"](visit)["speaks_for"])

    timed_lake.grant("user:eve", "administer", "sales.orders")
    everybody = ("user:ana", "user:bob", "user:eve")
    assert [may_acknowledge_on_the_page(one) for one in everybody] == [True, True, False]
    with acting("user:ana"):
        orders.acknowledge_proposal(made.id)
    assert (waiting("user:ana"), len(waiting("user:bob"))) == ([], 1)
    assert [may_acknowledge_on_the_page(one) for one in everybody] == [False, True, False]
    timed_lake.revoke("user:bob", "discover", "sales.orders")
    assert waiting("user:bob") == [], "he may not know of it any more"
