"""Every route of the server, and what it takes: whoever lacks that is refused, whoever has it is not.

A route that is not in the table fails the first test: somebody has to decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from cordillera.app import Application, create_lake
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.errors import DatasetNotFoundError
from cordillera.server import create_server
from cordillera.spec.access import Privilege, implied_by
from cordillera.spec.wanted_grant import WantedGrant

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
D, R, W = Privilege.DISCOVER, Privilege.READ, Privilege.WRITE
A, C, ALL = Privilege.ALTER, Privilege.CREATE, Privilege.ADMINISTER
API, ICEBERG = "/api/v1", "/iceberg/v1"
NOWHERE = "{root}/a/b/00000000-0000-4000-8000-000000000000/metadata/1.metadata.json"
ROWS = [{"id": 9, "day": "2026-01-01"}]
TABLE = {
    "type": "struct",
    "schema-id": 0,
    "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}],
}


@dataclass(frozen=True)
class Needs:
    """What a route takes.

    Attributes:
        on: lake, namespace, dataset or target; "" where everybody gets what concerns him.
        privileges: All of them.
        json: The body.
        query: The query.
        elsewhere: What it takes on something else, which is granted in any case.
        form: The body of a page's form.
    """

    on: str
    privileges: tuple[Privilege, ...] = ()
    json: Any = None
    query: dict[str, Any] = field(default_factory=dict)
    elsewhere: tuple[tuple[str, Privilege], ...] = ()
    form: dict[str, str] | None = None


def lake(*privileges: Privilege, json: Any = None, **query: Any) -> Needs:
    return Needs("lake", privileges, json, query)


def space(*privileges: Privilege, json: Any = None, **query: Any) -> Needs:
    return Needs("namespace", privileges, json, query)


def dataset(*privileges: Privilege, json: Any = None, **query: Any) -> Needs:
    return Needs("dataset", privileges, json, query)


def target(*privileges: Privilege, json: Any = None, **query: Any) -> Needs:
    return Needs("target", privileges, json, query)


def view(*privileges: Privilege, json: Any = None, **query: Any) -> Needs:
    return Needs("view", privileges, json, query)


PUBLIC = Needs("public")
OWN = Needs("")
"""Lists, and what is found by its id: one gets what is one's own; test_leaks shows that it is no more."""
CLAUSES = '[{"when": "matched", "then": "update"}, {"when": "not_matched", "then": "insert"}]'
GRANT = {"principal": "user:z", "privilege": "read", "on": "{dataset}"}
COMMIT = {"requirements": [], "updates": [{"action": "set-properties", "updates": {"a": "b"}}]}
NAMED = {"namespace": ["{namespace}"], "name": "{table}"}

VIEW = {
    "name": "n{new}",
    "schema": TABLE,
    "view-version": {
        "version-id": 1,
        "schema-id": 0,
        "timestamp-ms": 1,
        "summary": {},
        "default-namespace": ["{namespace}"],
        "representations": [{"type": "sql", "sql": "SELECT 1 AS id", "dialect": "duckdb"}],
    },
    "properties": {},
}

ROUTES: dict[str, Needs] = {
    f"GET {API}/access/explanation": dataset(ALL, principal="user:z", privilege="read", on="{dataset}"),
    f"DELETE {API}/access/approvers": lake(ALL, tags="level = low", approver="user:z"),
    f"GET {API}/access/approvers": lake(ALL),
    f"POST {API}/access/approvers": lake(ALL, json={"tags": "level = low", "approver": "user:z"}),
    f"GET {API}/access/deputies": OWN,
    f"POST {API}/access/deputies": lake(
        ALL,
        json={"deputy": "user:y", "owner": "user:z", "ends_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()},
    ),
    f"POST {API}/access/deputies/{{deputy_id}}/end": OWN,
    f"DELETE {API}/access/grants": dataset(ALL, principal="user:z", privilege="read", on="{dataset}"),
    f"GET {API}/access/grants": OWN,
    f"POST {API}/access/grants": dataset(ALL, json=GRANT),
    f"GET {API}/access/holders": dataset(ALL, on="{dataset}"),
    f"DELETE {API}/access/members": lake(ALL, role="role:x", member="user:z"),
    f"GET {API}/access/members": lake(ALL, role="role:x"),
    f"POST {API}/access/members": lake(ALL, json={"role": "role:x", "member": "user:z"}),
    f"DELETE {API}/access/policy-tags": dataset(ALL, on="{dataset}", name="level"),
    f"GET {API}/access/policy-tags": dataset(D, on="{dataset}"),
    f"POST {API}/access/policy-tags": dataset(ALL, json={"on": "{dataset}", "name": "level", "value": "low"}),
    f"GET {API}/access/requests": OWN,
    f"POST {API}/access/requests": dataset(D, json={"on": "{dataset}", "privileges": ["read"], "purpose": "x"}),
    f"GET {API}/access/requests/{{request_id}}": OWN,
    f"POST {API}/access/requests/{{request_id}}/approve": OWN,
    f"POST {API}/access/requests/{{request_id}}/refuse": OWN,
    f"POST {API}/access/requests/{{request_id}}/withdraw": OWN,
    f"GET {API}/access/roles": OWN,
    f"GET {API}/audit": lake(ALL),
    f"GET {API}/audit/verification": lake(ALL),
    f"POST {API}/audit/export": lake(ALL, json={"dataset": "kept.n{new}"}),
    f"POST {API}/contracts/check": OWN,
    f"GET {API}/datasets": OWN,
    f"POST {API}/datasets": space(C, json={"name": "{namespace}.n{new}", "columns": []}),
    f"DELETE {API}/datasets/{{name}}": dataset(ALL),
    f"GET {API}/datasets/{{name}}": dataset(D),
    f"PATCH {API}/datasets/{{name}}": dataset(A, json={"description": "x"}),
    f"GET {API}/datasets/{{name}}/advice": dataset(R),
    f"GET {API}/datasets/{{name}}/changes": dataset(R),
    f"POST {API}/datasets/{{name}}/cherry-pick": dataset(W, R, json={"sequence_number": 1}),
    f"POST {API}/datasets/{{name}}/compact": dataset(A, json={}),
    f"GET {API}/datasets/{{name}}/completions": dataset(D),
    f"POST {API}/datasets/{{name}}/completions": dataset(W, json={"partition": "whole"}),
    f"POST {API}/datasets/{{name}}/completions/batch": dataset(W, json={"partitions": ["whole"]}),
    f"GET {API}/datasets/{{name}}/completions/{{partition:path}}": dataset(D),
    f"GET {API}/datasets/{{name}}/completion-rule": dataset(D),
    f"PUT {API}/datasets/{{name}}/completion-rule": dataset(A, json={"min_rows": 1}),
    f"DELETE {API}/datasets/{{name}}/completion-rule": dataset(A),
    f"GET {API}/datasets/{{name}}/contract": dataset(D),
    f"PUT {API}/datasets/{{name}}/contract": dataset(A, json={}),
    f"GET {API}/datasets/{{name}}/contract/candidates": dataset(R),
    f"GET {API}/datasets/{{name}}/contract/candidates/{{branch}}": dataset(R),
    f"GET {API}/datasets/{{name}}/contract/document": dataset(D),
    f"POST {API}/datasets/{{name}}/contract/diff": dataset(D, json={}),
    f"GET {API}/datasets/{{name}}/contract/draft": dataset(D),
    f"GET {API}/contract-proposals": OWN,
    f"GET {API}/datasets/{{name}}/contract/proposals": dataset(D),
    f"POST {API}/datasets/{{name}}/contract/proposals": dataset(ALL, json={"text": "x", "reason": "y"}),
    f"POST {API}/datasets/{{name}}/contract/proposals/{{proposal_id}}/acknowledge": dataset(D, json={}),
    f"POST {API}/datasets/{{name}}/contract/proposals/{{proposal_id}}/override": dataset(ALL, json={"reason": "y"}),
    f"POST {API}/datasets/{{name}}/contract/proposals/{{proposal_id}}/withdraw": dataset(ALL, json={}),
    f"GET {API}/datasets/{{name}}/contract/revisions": dataset(D),
    f"GET {API}/datasets/{{name}}/contract/sla": dataset(D),
    f"POST {API}/datasets/{{name}}/expire-snapshots": dataset(A, json={}),
    f"POST {API}/datasets/{{name}}/fast-forward": dataset(W, json={"to": "audit"}),
    f"GET {API}/datasets/{{name}}/consumers": dataset(D),
    f"PUT {API}/datasets/{{name}}/lifecycle": dataset(A, json={"lifecycle": "deprecated"}),
    f"GET {API}/datasets/{{name}}/partitions/{{partition:path}}": dataset(D),
    f"PUT {API}/datasets/{{name}}/partitions/{{partition:path}}": dataset(W, json={"rows": 1}),
    f"GET {API}/datasets/{{name}}/maintenance": dataset(R),
    f"PATCH {API}/datasets/{{name}}/maintenance": dataset(
        A, json={"properties": {"cordillera.maintenance.small-files": "64"}}
    ),
    f"POST {API}/datasets/{{name}}/merges": dataset(W, R, json=ROWS, clauses=CLAUSES),
    f"POST {API}/datasets/{{name}}/merges/explanation": dataset(W, R, json=ROWS, clauses=CLAUSES),
    f"GET {API}/datasets/{{name}}/metadata-location": dataset(R),
    f"PUT {API}/datasets/{{name}}/partitioning": dataset(A, json={"partitioning": []}),
    f"POST {API}/datasets/{{name}}/refresh-statistics": dataset(A, R, json={}),
    f"GET {API}/datasets/{{name}}/refs": dataset(D),
    f"POST {API}/datasets/{{name}}/refs": dataset(A, json={"name": "other", "kind": "branch"}),
    f"DELETE {API}/datasets/{{name}}/refs/{{ref}}": dataset(A),
    f"PUT {API}/datasets/{{name}}/refs/{{ref}}": dataset(A, json={}),
    f"POST {API}/datasets/{{name}}/register": space(C, json={"metadata_location": NOWHERE}),
    f"POST {API}/datasets/{{name}}/rename": Needs(
        "dataset", (A,), {"name": "{namespace}.n{new}"}, elsewhere=(("namespace", C),)
    ),
    f"POST {API}/datasets/{{name}}/restore": dataset(ALL),
    f"POST {API}/datasets/{{name}}/rewrite-manifests": dataset(A),
    f"POST {API}/datasets/{{name}}/rollback": dataset(W, json={"to": "1"}),
    f"DELETE {API}/datasets/{{name}}/rows": dataset(W, R, where="id = 1"),
    f"GET {API}/datasets/{{name}}/rows": dataset(R),
    f"POST {API}/datasets/{{name}}/rows": dataset(W, json=ROWS, operation="upsert"),
    f"POST {API}/datasets/{{name}}/rows/deletion-explanation": dataset(W, R, where="id = 1"),
    f"POST {API}/datasets/{{name}}/rows/explanation": dataset(W, R, json=ROWS, operation="upsert"),
    f"GET {API}/datasets/{{name}}/schema": dataset(D),
    f"POST {API}/datasets/{{name}}/schema-changes": dataset(
        A, json={"changes": [{"change": "add_column", "path": "more", "type": "string"}]}
    ),
    f"GET {API}/datasets/{{name}}/snapshots": dataset(R),
    f"GET {API}/datasets/{{name}}/snapshots/{{sequence_number}}": dataset(R),
    f"GET {API}/datasets/{{name}}/snapshots/{{sequence_number}}/manifest": dataset(R),
    f"GET {API}/datasets/{{name}}/bloom-filters": dataset(R),
    f"PUT {API}/datasets/{{name}}/bloom-filters": dataset(A, json={"columns": []}),
    f"PUT {API}/datasets/{{name}}/sort-order": dataset(A, json={"sort_order": []}),
    f"GET {API}/datasets/{{name}}/statistics": dataset(R),
    f"POST {API}/datasets/{{name}}/upgrade": dataset(A, json={}),
    f"POST {API}/datasets/{{name}}/versions": dataset(A, json={"columns": []}),
    f"PUT {API}/datasets/{{name}}/write-mode": dataset(A, json={"write_mode": "copy-on-write"}),
    f"GET {API}/events": OWN,
    f"GET {API}/events/stream": Needs("", query={"idle_seconds": 0}),
    f"GET {API}/jobs": OWN,
    f"POST {API}/jobs": dataset(
        R,
        W,
        json={
            "name": "{namespace}.j{new}",
            "sql": "SELECT id, day FROM {dataset}",
            "output": "{output}",
            "output_condition": "day = $partition",
        },
    ),
    f"DELETE {API}/jobs/{{name}}": OWN,
    f"GET {API}/jobs/{{name}}": OWN,
    f"PATCH {API}/jobs/{{name}}": OWN,
    f"GET {API}/jobs/{{name}}/explanation": OWN,
    f"POST {API}/jobs/{{name}}/runs": OWN,
    f"GET {API}/jobs/{{name}}/waiting": OWN,
    f"GET {API}/lake": OWN,
    f"GET {API}/lake/findings": lake(ALL, files=False),
    f"GET {API}/lake/orphans": lake(ALL),
    f"POST {API}/lake/orphans/remove": lake(ALL, json={}),
    f"GET {API}/lake/keys": lake(ALL),
    f"POST {API}/lake/keys/rotate": lake(ALL, json={"purpose": "scan-plans"}),
    f"POST {API}/lake/keys/{{key_id}}/retire": lake(ALL),
    f"GET {API}/lineage": OWN,
    f"GET {API}/namespaces": OWN,
    f"POST {API}/namespaces": lake(C, json={"name": "n{new}"}),
    f"DELETE {API}/namespaces/{{name}}": space(ALL),
    f"GET {API}/namespaces/{{name}}": space(D),
    f"PATCH {API}/namespaces/{{name}}": space(A, json={"description": "x"}),
    f"GET {API}/openapi.json": OWN,
    f"POST {API}/query": dataset(R, json={"sql": "SELECT * FROM {dataset}"}),
    f"GET {API}/run-counts": OWN,
    f"GET {API}/runs": OWN,
    f"GET {API}/runs/{{run_id}}": OWN,
    f"GET {API}/search": OWN,
    f"GET {API}/session": OWN,
    f"POST {API}/session/code": PUBLIC,
    f"POST {API}/session/end": OWN,
    f"GET {API}/subscriptions": OWN,
    f"POST {API}/subscriptions": Needs(
        "dataset", (R,), {"dataset": "{dataset}", "target": "{target}"}, elsewhere=(("target", W),)
    ),
    f"GET {API}/subscriptions/{{subscription_id}}": OWN,
    f"GET {API}/subscriptions/{{subscription_id}}/history": OWN,
    f"GET {API}/subscriptions/{{subscription_id}}/deliveries": OWN,
    f"GET {API}/delivery-costs": OWN,
    f"POST {API}/subscriptions/{{subscription_id}}/renew": OWN,
    f"POST {API}/subscriptions/{{subscription_id}}/pause": OWN,
    f"POST {API}/subscriptions/{{subscription_id}}/resume": OWN,
    f"POST {API}/subscriptions/{{subscription_id}}/change": OWN,
    f"POST {API}/subscriptions/{{subscription_id}}/skip": OWN,
    f"POST {API}/subscriptions/{{subscription_id}}/skips/{{number}}/withdraw": OWN,
    f"POST {API}/subscriptions/{{subscription_id}}/revoke": OWN,
    f"POST {API}/subscriptions/{{subscription_id}}/verify": OWN,
    f"POST {API}/subscriptions/{{subscription_id}}/repair": OWN,
    f"PATCH {API}/subscriptions/{{subscription_id}}": OWN,
    f"GET {API}/targets": OWN,
    f"POST {API}/targets": lake(ALL, json={"name": "t{new}", "kind": "duckdb", "config": {"path": "{folder}/t.db"}}),
    f"DELETE {API}/targets/{{name}}": target(ALL),
    f"GET {API}/targets/{{name}}": target(D),
    f"POST {API}/targets/{{name}}/check": target(W),
    f"POST {API}/targets/{{name}}/external-schema": target(D, json={"name": "lake"}),
    f"GET {API}/tasks": lake(ALL),
    f"GET {API}/tokens": OWN,
    f"POST {API}/tokens": lake(ALL, json={"name": "t{new}", "principal": "user:z"}),
    f"DELETE {API}/tokens/{{token_id}}": OWN,
    f"POST {API}/tokens/{{token_id}}/rotate": OWN,
    f"POST {API}/tokens/{{token_id}}/signing-key": OWN,
    f"GET {API}/destinations": OWN,
    f"POST {API}/destinations": OWN,
    f"GET {API}/destinations/{{destination_id}}": OWN,
    f"DELETE {API}/destinations/{{destination_id}}": OWN,
    f"GET {API}/destinations/{{destination_id}}/deliveries": OWN,
    f"POST {API}/destinations/{{destination_id}}/replay": OWN,
    f"POST {API}/destinations/{{destination_id}}/rotate": OWN,
    f"POST {API}/destinations/{{destination_id}}/test": OWN,
    f"POST {API}/transactions": dataset(W, json=[ROWS], writes='[{"dataset": "{dataset}", "operation": "upsert"}]'),
    f"GET {API}/views": OWN,
    f"POST {API}/views": Needs(
        "dataset",
        (R,),
        {"name": "{namespace}.n{new}", "sql": "SELECT id FROM {dataset}"},
        elsewhere=(("namespace", C),),
    ),
    f"DELETE {API}/views/{{name}}": view(ALL),
    f"GET {API}/views/{{name}}": view(R),
    f"POST {API}/views/{{name}}/rename": Needs(
        "view", (A,), {"new_name": "{namespace}.n{new}"}, elsewhere=(("namespace", C),)
    ),
    f"GET {ICEBERG}/config": OWN,
    f"GET {ICEBERG}/namespaces": OWN,
    f"POST {ICEBERG}/namespaces": lake(C, json={"namespace": ["n{new}"]}),
    f"DELETE {ICEBERG}/namespaces/{{namespace}}": space(ALL),
    f"GET {ICEBERG}/namespaces/{{namespace}}": space(D),
    f"HEAD {ICEBERG}/namespaces/{{namespace}}": space(D),
    f"POST {ICEBERG}/namespaces/{{namespace}}/properties": space(A, json={"updates": {"a": "b"}}),
    f"POST {ICEBERG}/namespaces/{{namespace}}/register": space(
        C, json={"name": "n{new}", "metadata-location": NOWHERE}
    ),
    f"GET {ICEBERG}/namespaces/{{namespace}}/tables": space(D),
    f"POST {ICEBERG}/namespaces/{{namespace}}/tables": space(C, json={"name": "n{new}", "schema": TABLE}),
    f"DELETE {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}": dataset(ALL),
    f"GET {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}": dataset(R),
    f"HEAD {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}": dataset(D),
    f"POST {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}": dataset(A, R, json=COMMIT),
    f"POST {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}/metrics": dataset(D),
    f"POST {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}/plan": dataset(R, json={}),
    f"GET {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}/plan/{{plan_id}}": dataset(R),
    f"DELETE {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}/plan/{{plan_id}}": dataset(R),
    f"POST {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}/tasks": dataset(R, json={"plan-task": "x"}),
    f"POST {ICEBERG}/namespaces/{{namespace}}/register-view": space(
        C, json={"name": "n{new}", "metadata-location": NOWHERE}
    ),
    f"GET {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}/credentials": dataset(R, Privilege.EXTERNAL_USE),
    f"POST {ICEBERG}/namespaces/{{namespace}}/tables/{{table}}/sign": dataset(
        R, Privilege.EXTERNAL_USE, json={"region": "x", "uri": NOWHERE, "method": "GET", "headers": {}}
    ),
    f"GET {ICEBERG}/namespaces/{{namespace}}/views": space(D),
    f"POST {ICEBERG}/namespaces/{{namespace}}/views": space(C, json=VIEW),
    f"DELETE {ICEBERG}/namespaces/{{namespace}}/views/{{view}}": view(ALL),
    f"GET {ICEBERG}/namespaces/{{namespace}}/views/{{view}}": view(R),
    f"HEAD {ICEBERG}/namespaces/{{namespace}}/views/{{view}}": view(D),
    f"POST {ICEBERG}/namespaces/{{namespace}}/views/{{view}}": view(
        A, json={"requirements": [], "updates": [{"action": "set-properties", "updates": {"a": "b"}}]}
    ),
    f"POST {ICEBERG}/views/rename": Needs(
        "view",
        (A,),
        {"source": {**NAMED, "name": "shape"}, "destination": {**NAMED, "name": "n{new}"}},
        elsewhere=(("namespace", C),),
    ),
    f"POST {ICEBERG}/oauth/tokens": PUBLIC,
    f"POST {ICEBERG}/tables/rename": Needs(
        "dataset",
        (A,),
        {"source": NAMED, "destination": {**NAMED, "name": "n{new}"}},
        elsewhere=(("namespace", C),),
    ),
    f"POST {ICEBERG}/transactions/commit": dataset(A, R, json={"table-changes": [{**COMMIT, "identifier": NAMED}]}),
    "GET /": OWN,
    "GET /access": OWN,
    "GET /access/deputies": OWN,
    "POST /access/deputies/add": Needs(
        "lake", (ALL,), form={"deputy": "user:y", "owner": "user:z", "duty": "access_requests"}
    ),
    "POST /access/deputies/{deputy_id}/end": OWN,
    "GET /access/ask": OWN,
    "POST /access/ask": Needs("dataset", (D,), form={"on": "{dataset}", "privilege": "read", "purpose": "x"}),
    "GET /access/explain": Needs(
        "dataset", (ALL,), query={"principal": "user:z", "privilege": "read", "on": "{dataset}"}
    ),
    "GET /access/requests/{request_id}": OWN,
    "POST /access/requests/{request_id}/approve": OWN,
    "POST /access/requests/{request_id}/refuse": OWN,
    "POST /access/requests/{request_id}/withdraw": OWN,
    "GET /audit": lake(ALL),
    "GET /datasets/{name:qualified}": dataset(D),
    "GET /datasets/{name:qualified}/edit": dataset(D),
    "POST /datasets/{name:qualified}/edit": Needs("dataset", (A,), form={"owner": "user:owner", "tags": "new"}),
    "GET /datasets/{name:qualified}/contract/edit": dataset(D),
    "POST /datasets/{name:qualified}/contract/edit": Needs("dataset", (A,), form={"text": "x", "step": "put"}),
    "POST /datasets/{name:qualified}/contract/proposals/{proposal_id}/{decision}": Needs(
        "dataset", (ALL,), form={"reason": "y"}
    ),
    "GET /datasets/{name:qualified}/snapshots/{sequence}": dataset(R),
    "GET /events": OWN,
    "GET /health": lake(ALL),
    "GET /healthz": PUBLIC,
    "GET /jobs": OWN,
    "GET /jobs/{name:qualified}": OWN,
    "GET /login": PUBLIC,
    "GET /login/begin": PUBLIC,
    "GET /login/done": PUBLIC,
    "GET /login/terminal": OWN,
    "POST /login/terminal": OWN,
    "POST /login": PUBLIC,
    "POST /logout": OWN,
    "GET /metrics": lake(D),
    "GET /namespaces": OWN,
    "GET /namespaces/{name}": space(D),
    "GET /readyz": PUBLIC,
    "GET /runs": OWN,
    "GET /runs/{run_id}": OWN,
    "GET /search": OWN,
    "GET /search/suggestions": OWN,
    "GET /subscriptions": OWN,
    "GET /subscriptions/costs": OWN,
    "GET /subscriptions/{subscription_id}": OWN,
    "POST /subscriptions/{subscription_id}/pause": OWN,
    "POST /subscriptions/{subscription_id}/resume": OWN,
    "POST /subscriptions/{subscription_id}/change": OWN,
    "POST /subscriptions/{subscription_id}/skip": OWN,
    "POST /subscriptions/{subscription_id}/skips/{number}/withdraw": OWN,
    "POST /subscriptions/{subscription_id}/verify": OWN,
    "POST /subscriptions/{subscription_id}/repair": OWN,
    "GET /targets": OWN,
    "GET /lake/keys": lake(ALL),
    "POST /lake/keys/rotate": Needs("lake", (ALL,), form={"purpose": "scan-plans"}),
    "POST /lake/keys/{key_id}/retire": lake(ALL),
    "GET /destinations": OWN,
    "GET /destinations/{destination_id}": OWN,
}


def routes_of(app: Application) -> set[str]:
    """Return every route of the server; pages have a second form that ends in .json."""
    found = set()
    for route in create_server(app).routes:
        contexts = route.effective_route_contexts() if hasattr(route, "effective_route_contexts") else [route]
        for one in contexts:
            for method in getattr(one, "methods", None) or ():
                path = one.path
                if not path.startswith((API, ICEBERG)):
                    path = path.removesuffix(".json") or "/"
                if method != "HEAD" or path.startswith(ICEBERG):
                    found.add(f"{method} {path}")
    return found


@dataclass
class Place:
    """A lake with things that somebody else owns, made anew for every route that might destroy them."""

    app: Application
    folder: Path
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = create_server(self.app)

    def fresh(self) -> None:
        mark, owner = uuid4().hex[:10], "user:owner"
        lake = Lake(LocalBackend(self.app))
        lake.create_namespace(f"s{mark}", owner=owner)
        self.names = {
            "namespace": f"s{mark}",
            "table": "secret",
            "view": f"s{mark}.shape",
            "dataset": f"s{mark}.secret",
            "output": f"s{mark}.result",
            "target": f"t{mark}",
            "new": mark,
            "folder": str(self.folder),
            "root": self.app.storage.root,
        }
        schema = {"id": pa.int64(), "day": pa.string()}
        for name in ("secret", "result"):
            lake.create_dataset(f"s{mark}.{name}", schema, key=["id"])
        made = lake.dataset(self.names["dataset"])
        made.write([{"id": 1, "day": "x"}], "upsert")
        lake.backend.create_ref(made.name, "audit", "branch")
        self.app.view_definitions.define(f"s{mark}.shape", f"SELECT id FROM s{mark}.secret")
        self.app.subscriptions.create_target(
            self.names["target"], "duckdb", {"path": f"{self.folder}/{mark}.db"}, check=False
        )

    def caller(self) -> tuple[str, TestClient]:
        """Return somebody new, and a client that acts for him."""
        principal = f"user:u{uuid4().hex[:10]}"
        token = self.app.access.create_token("t", principal=principal).secret
        headers = {"Authorization": f"Bearer {token}"}
        client = TestClient(self.server, base_url="http://localhost", headers=headers)
        return principal, client

    def grant(self, principal: str, on: str, privilege: Privilege) -> None:
        objects = {
            "lake": "lake",
            "namespace": f"namespace:{self.names['namespace']}",
            "view": f"view:{self.names['namespace']}.shape",
            "target": f"target:{self.names['target']}",
        }
        names = [self.names["dataset"], self.names["output"]] if on == "dataset" else []
        for name in names:
            with suppress(DatasetNotFoundError):  # it has been deleted to be restored
                self.app.deletion.restore(name)
            self.app.grants.grant(WantedGrant(principal, privilege, name))
        if on in objects:
            self.app.grants.grant(WantedGrant(principal, privilege, objects[on]))

    def ask(self, client: TestClient, route: str, needs: Needs) -> Any:
        method, path = route.split(" ")
        values = {
            "{name}": self.names[needs.on] if needs.on in self.names else self.names["dataset"],
            "{name:qualified}": self.names["dataset"],
            "{namespace}": self.names["namespace"],
            "{view}": "shape",
            "{table}": self.names["table"],
            "{partition:path}": "whole",
            "{ref}": "audit",
            "{branch}": "candidate-1",
            "{sequence_number}": "1",
            "{sequence}": "1",
            "{plan_id}": "x",
            "{proposal_id}": str(uuid4()),
            "{decision}": "withdraw",
            "{token_id}": str(uuid4()),
            "{key_id}": str(uuid4()),
            "{run_id}": str(uuid4()),
            "{subscription_id}": str(uuid4()),
        }
        if path.endswith("/register") and path.startswith(API):
            values["{name}"] = f"{self.names['namespace']}.n{self.names['new']}"
        for placeholder, value in values.items():
            path = path.replace(placeholder, value)
        if route.endswith("/restore"):
            with suppress(DatasetNotFoundError):
                self.app.deletion.delete(self.names["dataset"])
        query = {key: self._filled(value) for key, value in needs.query.items()}
        body = self._filled(needs.json)
        headers = {"Accept": "application/json"}
        return client.request(method, path, json=body, params=query, data=self._filled(needs.form), headers=headers)

    def _filled(self, value: Any) -> Any:
        match value:
            case str():
                for name, known in self.names.items():
                    value = value.replace(f"{{{name}}}", known)
                return value
            case dict():
                return {key: self._filled(one) for key, one in value.items()}
            case list():
                return [self._filled(one) for one in value]
            case _:
                return value


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("routes")
    with create_lake(folder / "lake") as app:
        yield Place(app, folder)


def test_every_route_has_a_decision(place: Place) -> None:
    assert routes_of(place.app) == set(ROUTES)


def test_every_capability_of_the_lake_is_behind_a_decision() -> None:
    """What somebody may do is decided by the services; none of the routes has another way to them."""
    assert all(needs.privileges for needs in ROUTES.values() if needs.on not in ("", "public"))


DECIDED = [(route, needs) for route, needs in ROUTES.items() if needs.privileges]


@pytest.mark.parametrize(("route", "needs"), DECIDED, ids=[route for route, _ in DECIDED])
def test_a_route_takes_what_it_takes(place: Place, route: str, needs: Needs) -> None:
    place.fresh()
    for lacking in needs.privileges:
        principal, client = place.caller()
        for on, privilege in needs.elsewhere:
            place.grant(principal, on, privilege)
        for privilege in Privilege:
            nothing = privilege is C and needs.on in ("dataset", "view", "target")
            if lacking not in implied_by(privilege) and not nothing:
                place.grant(principal, needs.on, privilege)
        answer = place.ask(client, route, needs)
        hidden = lacking is Privilege.DISCOVER and needs.on != "lake"
        assert answer.status_code == (404 if hidden else 403), (lacking, answer.text)
    principal, client = place.caller()
    refused = place.ask(client, route, needs)
    assert refused.status_code == (403 if needs.on == "lake" else 404), refused.text
    for on, privilege in (*needs.elsewhere, *((needs.on, one) for one in needs.privileges)):
        place.grant(principal, on, privilege)
    if route.startswith("POST") and "jobs" in route:
        place.grant(principal, "namespace", C)
    allowed = place.ask(client, route, needs)
    assert allowed.status_code not in (401, 403), allowed.text
    assert allowed.status_code != 404 or _is_another_matter(allowed), allowed.text
    assert allowed.status_code < 500, allowed.text


def _is_another_matter(answer: Any) -> bool:
    """Tell whether what was not found is something inside of what was asked for."""
    if not answer.content:
        return False
    said = answer.json().get("error", {})
    if said.get("type") in ("NoSuchPlanIdException", "NoSuchPlanTaskException"):
        return True
    return said.get("code") in (
        "candidate_not_found",
        "contract_not_found",
        "contract_proposal_not_found",
        "not_found",
        "snapshot_not_found",
    ) or (said.get("code") == "dataset_not_found" and "deleted" in said.get("message", ""))
