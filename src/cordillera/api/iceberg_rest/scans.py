"""Scan planning in the Iceberg REST catalog: clients ask which files to read, and need not read manifests."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from cordillera.api.iceberg_rest.content_files import content_file_to_plain
from cordillera.api.iceberg_rest.errors import iceberg_error
from cordillera.api.iceberg_rest.parameters import Lake, NamespaceName, TableName
from cordillera.api.parameters import LongText, Text
from cordillera.catalog.scan_plans import ScanPlan, ScanRequest
from cordillera.errors import NotFoundError
from cordillera.table.content_file import ManifestEntry
from cordillera.table.live_files import LiveFile

router = APIRouter(tags=["iceberg"])
_Id = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_PlanId = Annotated[Text, Path(description="What planning has answered with.")]


class WantedScan(BaseModel):
    """What a client wants to see; see ``ScanRequest``."""

    model_config = ConfigDict(populate_by_name=True)

    snapshot_id: _Id | None = Field(None, alias="snapshot-id")
    select: list[Text] | None = None
    filter: bool | dict[str, Any] | None = None
    min_rows_requested: _Id | None = Field(None, alias="min-rows-requested", description="A hint that is not used.")
    case_sensitive: bool = Field(True, alias="case-sensitive")
    use_snapshot_schema: bool = Field(False, alias="use-snapshot-schema")
    start_snapshot_id: _Id | None = Field(None, alias="start-snapshot-id")
    end_snapshot_id: _Id | None = Field(None, alias="end-snapshot-id")
    stats_fields: list[Text] | None = Field(None, alias="stats-fields")

    def request(self) -> ScanRequest:
        """The same for the service."""
        return ScanRequest(
            self.snapshot_id,
            self.start_snapshot_id,
            self.end_snapshot_id,
            self.select,
            self.filter,
            self.case_sensitive,
            self.use_snapshot_schema,
            self.stats_fields or (),
        )


class WantedTasks(BaseModel):
    """A part of a plan."""

    model_config = ConfigDict(populate_by_name=True)

    plan_task: LongText = Field(alias="plan-task")


@router.post("/namespaces/{namespace}/tables/{table}/plan", summary="Plan a scan")
def plan_scan(lake: Lake, namespace: NamespaceName, table: TableName, wanted: WantedScan) -> Response:
    """Which files a scan has to read, with the deletes that apply to each; of a large table the first part."""
    plan = lake.scan_plans.plan(f"{namespace}.{table}", wanted.request())
    return _answer({"status": "completed", "plan-id": plan.plan_id, **_tasks(plan)})


@router.get("/namespaces/{namespace}/tables/{table}/plan/{plan_id}", summary="Show a plan")
def planning_result(lake: Lake, namespace: NamespaceName, table: TableName, plan_id: _PlanId) -> Response:
    """What planning has answered, again."""
    plan = lake.scan_plans.result(f"{namespace}.{table}", plan_id)
    return _no_such("plan") if plan is None else _answer({"status": "completed", **_tasks(plan)})


@router.delete("/namespaces/{namespace}/tables/{table}/plan/{plan_id}", status_code=204, summary="Give a plan up")
def cancel_planning(lake: Lake, namespace: NamespaceName, table: TableName, plan_id: _PlanId) -> Response:
    """Nothing has to be given up: nothing is kept for plans."""
    found = lake.scan_plans.is_plan(f"{namespace}.{table}", plan_id)
    return Response(status_code=204) if found else _no_such("plan")


@router.post("/namespaces/{namespace}/tables/{table}/tasks", summary="Get a part of a plan")
def scan_tasks(lake: Lake, namespace: NamespaceName, table: TableName, wanted: WantedTasks) -> Response:
    """Files to read, and what brings more of them."""
    plan = lake.scan_plans.tasks(f"{namespace}.{table}", wanted.plan_task)
    return _no_such("plan task") if plan is None else _answer(_tasks(plan))


# --- helpers ----------------------------------------------------------------------------------------------------------


def _no_such(what: str) -> Response:
    kind = "NoSuchPlanIdException" if what == "plan" else "NoSuchPlanTaskException"
    error = NotFoundError(f"There is no such {what} of this table, or its snapshot has expired.", hint="Plan again.")
    return iceberg_error(error, kind=kind)


def _answer(answer: dict[str, Any]) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")


def _tasks(plan: ScanPlan) -> dict[str, Any]:
    deletes: dict[int, tuple[int, ManifestEntry]] = {}  # by identity: every entry is there once
    tasks = []
    for task in plan.tasks:
        entries = _deletes_of(task.live)
        for entry in entries:
            deletes.setdefault(id(entry), (len(deletes), entry))
        plain: dict[str, Any] = {
            "data-file": content_file_to_plain(task.live.file, plan.metadata, plan.statistics),
            "residual-filter": task.residual,
        }
        if entries:
            plain["delete-file-references"] = [deletes[id(entry)][0] for entry in entries]
        tasks.append(plain)
    return {
        "file-scan-tasks": tasks,
        "delete-files": [content_file_to_plain(entry.file, plan.metadata) for _, entry in deletes.values()],
        "plan-tasks": list(plan.plan_tasks),
    }


def _deletes_of(live: LiveFile) -> list[ManifestEntry]:
    entries = [one.entry for one in live.deletes]
    return entries if live.vector is None else [live.vector, *entries]
