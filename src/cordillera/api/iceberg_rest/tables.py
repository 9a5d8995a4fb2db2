"""Tables of the Iceberg REST catalog: finding, reading, creating, committing to and dropping them."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from starlette.responses import Response

from cordillera.api.iceberg_rest.file_access import Delegation, file_access, staged_file_access
from cordillera.api.iceberg_rest.parameters import (
    Body,
    Identifier,
    Lake,
    NamespaceName,
    PageSize,
    PageToken,
    Renaming,
    TableName,
    levels_of,
    listed,
    with_token,
)
from cordillera.api.parameters import IdempotencyKey, Text
from cordillera.app import Application
from cordillera.catalog.external_commits import TableChange
from cordillera.catalog.external_tables import NewExternalTable
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.commit_codec import CREATE, check_depth, requirements_from_plain, updates_from_plain
from cordillera.errors import InvalidInputError, NotAllowedError
from cordillera.spec.access import Privilege

router = APIRouter(tags=["iceberg"])
Shown = Literal["all", "refs"]
"""The snapshots that a loaded table tells of."""


class NewTable(BaseModel):
    """A table to be made."""

    model_config = ConfigDict(populate_by_name=True)

    name: Text
    location: Text | None = None
    columns: dict[str, Any] = Field(alias="schema")
    partition_spec: dict[str, Any] | None = Field(None, alias="partition-spec")
    write_order: dict[str, Any] | None = Field(None, alias="write-order")
    stage_create: bool = Field(False, alias="stage-create")
    properties: dict[Text, Text] | None = None


class Registration(BaseModel):
    """A table that is there."""

    model_config = ConfigDict(populate_by_name=True)

    name: Text
    metadata_location: Text = Field(alias="metadata-location")
    overwrite: bool = False


class Commit(BaseModel):
    """What an engine believes about a table, and what it wants to change."""

    identifier: Identifier | None = None
    requirements: list[dict[str, Any]]
    updates: list[dict[str, Any]]


class Transaction(BaseModel):
    """Commits to several tables, all of them or none."""

    model_config = ConfigDict(populate_by_name=True)

    changes: list[Commit] = Field(alias="table-changes")


@router.get("/namespaces/{namespace}/tables", summary="List tables")
def list_tables(
    lake: Lake, namespace: NamespaceName, page_token: PageToken = None, page_size: PageSize = 100
) -> dict[str, Any]:
    """Tables of a namespace by name."""

    def load(after: str, limit: int) -> Any:
        return lake.catalog.datasets(namespace, after, limit)

    found, token = listed(load, lambda one: str(one.full_name), page_token, page_size)
    return with_token({"identifiers": [{"namespace": levels_of(namespace), "name": one.name} for one in found]}, token)


@router.post("/namespaces/{namespace}/tables", summary="Create a table")
def create_table(lake: Lake, namespace: NamespaceName, wanted: NewTable, delegation: Delegation) -> Response:
    """Make an empty table, or say where one would be that is committed with its rows later (stage-create)."""
    if wanted.location is not None and not wanted.stage_create:
        raise InvalidInputError(
            f"The table {namespace}.{wanted.name} cannot be put at {wanted.location[:200]!r}: the lake chooses where "
            "tables live.",
            hint="Leave the location out.",
        )
    table = NewExternalTable(
        f"{namespace}.{wanted.name}",
        _read(Schema, wanted.columns, "schema"),
        _read(PartitionSpec, wanted.partition_spec, "partition spec") or UNPARTITIONED_PARTITION_SPEC,
        _read(SortOrder, wanted.write_order, "write order") or UNSORTED_SORT_ORDER,
        wanted.properties or {},
    )
    if wanted.stage_create:
        staged = lake.external_tables.stage(table)
        return _answer(None, staged.to_json(), staged_file_access(lake, table.name, staged.location, delegation))
    return _loaded(lake, lake.external_tables.create(table), delegation=delegation)


@router.post("/namespaces/{namespace}/register", summary="Register a table")
def register_table(lake: Lake, namespace: NamespaceName, wanted: Registration, delegation: Delegation) -> Response:
    """Make a table that lies in the lake's storage, and belongs to no dataset, one; its snapshots are checked first."""
    name = f"{namespace}.{wanted.name}"
    if wanted.overwrite:
        raise NotAllowedError(
            f"{name} is not overwritten by another table: its snapshots, subscriptions and contract are its own.",
            hint="Drop it, or register the other table under another name.",
        )
    registered = lake.registration.register(name, wanted.metadata_location)
    return _loaded(lake, registered, delegation=delegation)


@router.get("/namespaces/{namespace}/tables/{table}", summary="Load a table")
def load_table(
    lake: Lake,
    namespace: NamespaceName,
    table: TableName,
    delegation: Delegation,
    snapshots: Annotated[Shown, Query(description="Which snapshots to tell of.")] = "all",
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """A table's metadata."""
    found = lake.catalog.dataset(f"{namespace}.{table}", Privilege.READ)
    tag = _tag(found.version.metadata_location, snapshots)
    known = [part.strip() for part in if_none_match.split(",")]
    if tag in known and not delegation:  # credentials are fresh each time
        return Response(status_code=304, headers={"ETag": tag})
    return _loaded(lake, found, snapshots, delegation=delegation)


@router.head("/namespaces/{namespace}/tables/{table}", status_code=204, summary="Tell whether a table exists")
def table_exists(lake: Lake, namespace: NamespaceName, table: TableName) -> Response:
    """Nothing, or an error."""
    lake.catalog.dataset(f"{namespace}.{table}", Privilege.DISCOVER)
    return Response(status_code=204)


@router.post("/namespaces/{namespace}/tables/{table}", summary="Commit to a table")
def commit(
    lake: Lake, namespace: NamespaceName, table: TableName, wanted: Commit, body: Body, idempotency_key: IdempotencyKey
) -> Response:
    """Change a table, or create it with all that is in it (assert-create)."""
    name, request_hash = f"{namespace}.{table}", hashlib.sha256(body).hexdigest()
    creates = any(requirement.get("type") == CREATE for requirement in wanted.requirements)
    if creates:
        updates = updates_from_plain(wanted.updates)
        found = lake.external_tables.commit_new(
            name, updates, idempotency_key=idempotency_key, request_hash=request_hash
        )
    else:
        [found] = lake.external_commits.commit(
            [_change(name, wanted)], idempotency_key=idempotency_key, request_hash=request_hash
        )
    return _loaded(lake, found)


@router.delete("/namespaces/{namespace}/tables/{table}", status_code=204, summary="Drop a table")
def drop_table(
    lake: Lake,
    namespace: NamespaceName,
    table: TableName,
    _purge: Annotated[bool, Query(alias="purgeRequested", description="Files go a week later anyway.")] = False,
) -> Response:
    """Delete a dataset. It can be restored for a week; then its files are removed."""
    lake.deletion.delete(f"{namespace}.{table}")
    return Response(status_code=204)


@router.post("/namespaces/{namespace}/tables/{table}/metrics", status_code=204, summary="Report metrics")
def report_metrics(lake: Lake, namespace: NamespaceName, table: TableName) -> Response:
    """Take note of what an engine did with a table; nothing is done with it yet."""
    lake.catalog.dataset(f"{namespace}.{table}", Privilege.DISCOVER)
    return Response(status_code=204)


@router.post("/tables/rename", status_code=204, summary="Rename a table")
def rename_table(lake: Lake, wanted: Renaming) -> Response:
    """Call a dataset otherwise, or move it to another namespace."""
    lake.catalog.rename_dataset(wanted.source.dotted, wanted.destination.dotted)
    return Response(status_code=204)


@router.post("/transactions/commit", status_code=204, summary="Commit to several tables")
def commit_transaction(lake: Lake, wanted: Transaction, body: Body, idempotency_key: IdempotencyKey) -> Response:
    """Change several tables in one commit."""
    changes = [_change(_name_of(change), change) for change in wanted.changes]
    if len({change.name for change in changes}) < len(changes):
        raise InvalidInputError("The transaction names a table twice.", hint="Put its updates into one change.")
    lake.external_commits.commit(
        changes, idempotency_key=idempotency_key, request_hash=hashlib.sha256(body).hexdigest()
    )
    return Response(status_code=204)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _change(name: str, commit: Commit) -> TableChange:
    return TableChange(name, requirements_from_plain(commit.requirements), updates_from_plain(commit.updates))


def _name_of(commit: Commit) -> str:
    if commit.identifier is None:
        raise InvalidInputError("A change of the transaction does not name its table.", hint="Add an identifier.")
    return commit.identifier.dotted


def _read(kind: Any, plain: dict[str, Any] | None, what: str) -> Any:
    if plain is None:
        return None
    check_depth(plain)
    try:
        return kind.model_validate(plain)
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        raise InvalidInputError(f"The {what} cannot be read: {str(error)[:300]}.") from error


def _loaded(
    lake: Application, found: ResolvedDataset, snapshots: Shown = "all", *, delegation: frozenset[str] = frozenset()
) -> Response:
    encoded = lake.tables.encoded(found.version, named_only=snapshots == "refs")
    location = found.version.metadata_location
    response = _answer(location, encoded, file_access(lake, found, delegation))
    response.headers["ETag"] = _tag(location, snapshots)
    return response


def _answer(location: str | None, metadata: bytes, access: dict[str, Any]) -> Response:
    answer = {"metadata": orjson.Fragment(metadata), **access}
    if location is not None:
        answer["metadata-location"] = location
    secret = {"Cache-Control": "no-store"} if "storage-credentials" in access else {}
    return Response(orjson.dumps(answer), media_type="application/json", headers=secret)


def _tag(location: str, snapshots: str) -> str:
    return f'"{hashlib.sha256(f"{location} {snapshots}".encode()).hexdigest()[:32]}"'
