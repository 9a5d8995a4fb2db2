"""A lake with something of everything, for commands to work on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

import cordillera
from cordillera.context import acting
from cordillera.errors import ContractViolationError
from cordillera.spec.completion_rule import CompletionRule
from cordillera.spec.subscription import Subscription
from cordillera.spec.workflow import WantedJob

CONDITION = "day = CAST($partition AS DATE)"
SELECT = "SELECT day, sum(total) AS total FROM sales.orders WHERE day = CAST($partition AS DATE) GROUP BY day"
ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "day": pa.array(["2026-01-30", "2026-01-31", "2026-01-31"]).cast(pa.date32()),
        "total": pa.array(["10.00", "20.50", None]).cast(pa.decimal128(10, 2)),
        "country": ["PE", "CL", "PE"],
    }
)
DAILY = pa.schema([("day", pa.date32()), ("total", pa.decimal128(38, 2))])


@dataclass(frozen=True)
class Furniture:
    """Where the lake is, and the ids of what is in it. What is ``spare`` may be used up."""

    folder: Path
    files: Path
    subscription: str
    spare_subscriptions: tuple[str, ...]
    run: str
    spare_token: str
    spare_key: str
    deputy: str
    request: str
    spare_requests: tuple[str, ...]
    spare_proposals: tuple[str, ...]
    dropped_metadata: str
    destination: str
    spare_destination: str


def _leave_out(lake: cordillera.Lake) -> Subscription:
    """Return a paused subscription that is to leave out a snapshot."""
    late = lake.create_dataset("sales.late", ROWS.schema, key=["id"])
    late.write(ROWS)
    made = late.subscribe("analysts")
    lake.run_pending()
    lake.backend.pause_subscription(made.id)
    late.write(ROWS.slice(0, 1), "upsert")
    lake.backend.skip_snapshots(made.id, 2, reason="late")
    return made


def furnish(folder: Path) -> Furniture:
    with cordillera.create(folder / "lake", name="furnished") as lake:
        for name in ("sales", "spare"):
            lake.create_namespace(name, owner=f"team-{name}", description=f"What {name} has")
        orders = lake.create_dataset(
            "sales.orders",
            ROWS.schema,
            key=["id"],
            completion_unit="day",
            description="What was bought",
            tags=["money"],
        )
        orders.write(ROWS, idempotency_key="first")
        orders.write(ROWS.slice(0, 1), "upsert", completes="2026-01-30")
        orders.put_contract(lake.backend.draft_contract("sales.orders"))
        daily = lake.create_dataset("sales.daily", DAILY, completion_unit="day")
        daily.put_completion_rule(CompletionRule(column="day", min_rows=1_000_000))
        for name in ("deletable", "restorable", "renameable", "registrable", "changeable", "mergeable"):
            lake.create_dataset(f"sales.{name}", ROWS.schema, key=["id"])
        lake.dataset("sales.changeable").put_completion_rule(CompletionRule(min_rows=1_000_000))
        lake.dataset("sales.restorable").delete()
        dropped = lake.dataset("sales.registrable").metadata_location
        lake.dataset("sales.registrable").delete()
        for name in ("totals", "spare_view", "doomed_view"):
            lake.create_view(f"sales.{name}", "SELECT country, sum(total) AS total FROM sales.orders GROUP BY country")
        _branch_out(lake)
        _refuse(lake)
        for name in ("analysts", "spare"):
            lake.create_target(name, "duckdb", path=str(folder / f"{name}.duckdb"))
        lake.backend.create_target("athena", "glue", {"database": "lake"}, check=False)
        lake.create_job("sales.daily", SELECT, output_condition=CONDITION)
        lake.create_job("sales.spare", SELECT, output="sales.daily", output_condition=CONDITION)
        lake.backend.set_job_enabled("sales.spare", False)
        main = orders.subscribe("analysts", purpose="to see how sales are")
        spares = [orders.subscribe("analysts", table=f"spare_{number}") for number in range(3)]
        spares.append(_leave_out(lake))
        token = lake.backend.create_token("spare")
        key = lake.rotate_lake_key("sign-in")
        lake.rotate_lake_key("sign-in")
        hooks = [
            lake.create_destination(
                "webhook",
                url=f"https://hooks.example.com/{name}",
                topics=["run.finished"],
                description=text,
                within=["x"],
            )
            for name, text in (("lake", "to see how sales are"), ("spare", ""))
        ]
        deputy = lake.add_deputy("user:stand_in", datetime.now(UTC) + timedelta(days=9), owner="user:olga")
        requests = _grant(lake)
        proposals = _propose(lake, folder)
        orders.complete("2026-01-31")
        lake.run_pending()
        lake.backend.pause_subscription(spares[1].id)
        lake.run_pending()
        run = lake.backend.runs(job="sales.daily")[0]
    cordillera.create(folder / "pristine").close()
    return Furniture(
        folder / "lake",
        folder,
        str(main.id),
        tuple(str(spare.id) for spare in spares),
        str(run.id),
        str(token.token.id),
        str(key.id),
        str(deputy.id),
        requests[0],
        tuple(requests[1:]),
        proposals,
        dropped,
        *(str(hook.id) for hook, _ in hooks),
    )


def _grant(lake: cordillera.Lake) -> list[str]:
    """Let somebody do something, and others ask for it; return their requests."""
    lake.grant("role:analysts", "read", "namespace:sales", reason="weekly report")
    lake.grant("user:spare", "read", "sales.daily")
    for member in ("user:ana", "user:spare"):
        lake.add_member("role:analysts", member)
    lake.set_policy_tag("sales.orders", "level", "personal")
    lake.set_policy_tag("sales.orders", "spare", "x")
    lake.add_approver("level = personal", "group:privacy")
    lake.add_approver("level = spare", "group:spare")
    requests = []
    for name in ("dana", "dora", "duke"):
        lake.grant(f"user:{name}", "discover", "sales.orders")
        with acting(f"user:{name}"):
            requests.append(lake.request_access("sales.orders", "read", purpose="a look at totals", days=30))
    requests.append(lake.request_access("sales.orders", "read", purpose="a look at totals", days=30))
    return [str(one.id) for one in requests]


def _propose(lake: cordillera.Lake, folder: Path) -> tuple[str, ...]:
    """Make datasets that others rely on, and propose to retire them, all but the last; return the proposals."""
    proposals = []
    for number in range(4):
        asked = lake.create_dataset(f"sales.asked_{number}", ROWS.schema, key=["id"], completion_unit="day")
        draft = lake.backend.draft_contract(asked.name)
        asked.put_contract(draft)
        sql = SELECT.replace("sales.orders", asked.name)
        lake.backend.create_job(
            WantedJob(f"sales.asks_{number}", sql, output="sales.daily", output_condition=CONDITION, owner="team-x")
        )
        retired = draft.replace("status: draft", "status: retired")
        (folder / "retired.yaml").write_text(retired)
        if number < 3:
            proposals.append(str(asked.propose_contract(retired, reason="nobody needs it").id))
    return tuple(proposals)


def _refuse(lake: cordillera.Lake) -> None:
    """Let a commit be refused for what the table would become."""
    refused = lake.create_dataset("sales.refused", ROWS.schema, key=["id"])
    few = "  quality: [{type: library, metric: rowCount, mustBeLessThan: 2}]\n  properties:"
    refused.put_contract(lake.backend.draft_contract("sales.refused").replace("  properties:", few, 1))
    refused.write(ROWS.slice(0, 1))
    with suppress(ContractViolationError):
        refused.write(ROWS.slice(1))


def _branch_out(lake: cordillera.Lake) -> None:
    """Make datasets with branches and tags to move and drop."""
    for name in ("rolled", "second", "picked"):
        lake.create_dataset(f"sales.{name}", ROWS.schema, key=["id"], format_version=2).write(ROWS.slice(0, 1))
    rolled, second, picked = (lake.dataset(f"sales.{name}") for name in ("rolled", "second", "picked"))
    rolled.write(ROWS.slice(1, 1))
    for tag in ("v1", "droppable"):
        rolled.create_tag(tag, as_of=1)
    for branch in ("audit", "behind", "droppable"):
        second.create_branch(branch)
    second.write(ROWS.slice(1, 1), branch="audit")
    picked.create_branch("audit")
    picked.write(ROWS.slice(1, 1), branch="audit")
    picked.write(ROWS.slice(2, 1))
