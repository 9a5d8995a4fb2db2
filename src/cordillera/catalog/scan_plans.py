"""Scan planning for other engines: they say what they want to see, and are told which files to read.

Nothing is kept between requests. A large plan is answered in parts, and each part that is left is a signed token with
all that is needed to plan it, so that any process of the lake can go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from pyiceberg.schema import Schema

from cordillera.catalog.service import CatalogService
from cordillera.catalog.signed_values import SignedValues
from cordillera.catalog.tables import TableService
from cordillera.errors import InvalidInputError, UnknownColumnError
from cordillera.predicate_codec import scan_filter_from_plain
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.refs import ancestors
from cordillera.spec.scan_filter import PlainPredicate, all_of
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.live_files import LiveFile
from cordillera.table.scan_tasks import ScanTask, TaskPlanner, appended_files

TASKS = 1_000
"""Most files in one answer."""
_TOKENS = 1_000_000
"""About so many bytes of tokens are in one answer at most."""
_TOKEN = 300
_LONGEST_ID = 4_000
"""Plan ids are part of addresses, which may not be longer everywhere."""
_METADATA_COLUMNS = frozenset(
    {"_file", "_pos", "_spec_id", "_partition", "_deleted", "_row_id", "_last_updated_sequence_number"}
)
_UNCHANGED, _APPENDED = "replace", "append"


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What an engine wants to see.

    Attributes:
        snapshot_id: The snapshot to read; None for the newest on ``main``.
        start_snapshot_id, end_snapshot_id: In place of it, for what was appended behind the one and up to the other.
        select: Columns, which have to exist; None for all.
        wanted: The condition on rows, in the JSON of the specification.
        case_sensitive: Whether names of columns have to be written as they are.
        use_snapshot_schema: Whether columns are those of the snapshot, and not those of the table now.
        stats_fields: Columns whose statistics are to be told of each file.
    """

    snapshot_id: int | None = None
    start_snapshot_id: int | None = None
    end_snapshot_id: int | None = None
    select: Sequence[str] | None = None
    wanted: PlainPredicate | None = None
    case_sensitive: bool = True
    use_snapshot_schema: bool = False
    stats_fields: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What an engine has to read, or the first part of it.

    Attributes:
        plan_id: Stands for the whole plan.
        metadata: The table.
        tasks: Files to read.
        statistics: Ids of the columns whose statistics are wanted.
        plan_tasks: Tokens that bring more tasks.
    """

    plan_id: str
    metadata: TableMetadata
    tasks: tuple[ScanTask, ...]
    statistics: frozenset[int] = field(default_factory=frozenset)
    plan_tasks: tuple[str, ...] = ()


class ScanPlanService:
    """Plans scans for other engines.

    Args:
        catalog: Resolves names.
        tables: Knows the files of tables.
        tokens: Writes and reads what engines ask on with.
    """

    def __init__(self, catalog: CatalogService, tables: TableService, tokens: SignedValues) -> None:
        self._catalog, self._tables, self._tokens = catalog, tables, tokens

    def plan(self, name: str, request: ScanRequest) -> ScanPlan:
        """Return what a scan has to read, or the first part of it.

        Raises:
            InvalidInputError: If the request contradicts itself, names a snapshot or column that does not exist, or a
                condition that cannot be read; or if not only appends lie between its two snapshots.
            DatasetNotFoundError, DatasetVersionNotFoundError: As their names say.
        """
        version = self._catalog.dataset(name, Privilege.READ).version
        metadata = self._tables.load(version)
        _check_moments(request)
        snapshot = _snapshot(name, metadata, request)
        if request.start_snapshot_id is not None:
            _appends(name, metadata, request.start_snapshot_id, snapshot)
        schema_id = snapshot.schema_id if snapshot is not None and request.use_snapshot_schema else None
        schema = metadata.schema_by_id(schema_id)
        _field_ids(schema, set(request.select or ()) - _METADATA_COLUMNS, request.case_sensitive)
        wanted = scan_filter_from_plain(request.wanted, schema, case_sensitive=request.case_sensitive)
        content = {
            "dataset_version": str(version.id),
            "snapshot": None if snapshot is None else snapshot.snapshot_id,
            "after": request.start_snapshot_id,
            "schema": schema.schema_id,
            "filter": all_of(wanted.parts),
            "case_sensitive": request.case_sensitive,
            "statistics": sorted(_field_ids(schema, request.stats_fields, request.case_sensitive)),
        }
        return self._planned(name, version, content, count=True)

    def result(self, name: str, plan_id: str) -> ScanPlan | None:
        """Return a plan again; None if the id stands for none that can be told again."""
        return self._again(name, plan_id, whole=True)

    def tasks(self, name: str, plan_task: str) -> ScanPlan | None:
        """Return what a token stands for; None if it is none of the table, or its snapshot has expired."""
        return self._again(name, plan_task, whole=False)

    def is_plan(self, name: str, plan_id: str) -> bool:
        """Tell whether an id stands for a plan of a dataset."""
        version, content = self._catalog.dataset(name, Privilege.READ).version, self._tokens.read(plan_id)
        return content is not None and content["dataset_version"] == str(version.id) and "part" not in content

    # --- helpers -------------------------------------------------------------------------------------------------

    def _again(self, name: str, token: str, *, whole: bool) -> ScanPlan | None:
        version, content = self._catalog.dataset(name, Privilege.READ).version, self._tokens.read(token)
        if content is None or content["dataset_version"] != str(version.id) or whole == ("part" in content):
            return None
        if "digest" in content:
            return None
        metadata = self._tables.load(version)
        schema_gone = content["schema"] not in {schema.schema_id for schema in metadata.schemas}
        expired = content["snapshot"] is not None and metadata.snapshot_by_id(content["snapshot"]) is None
        return None if schema_gone or expired else self._planned(name, version, content)

    def _planned(
        self, name: str, version: DatasetVersion, content: Mapping[str, Any], *, count: bool = False
    ) -> ScanPlan:
        metadata = self._tables.load(version)
        snapshot = None if content["snapshot"] is None else metadata.snapshot_by_id(content["snapshot"])
        schema = metadata.schema_by_id(content["schema"])
        wanted = scan_filter_from_plain(content["filter"], schema, case_sensitive=content["case_sensitive"])
        files = self._files(name, metadata, snapshot, content["after"])
        planner = TaskPlanner(metadata, schema, wanted)
        among = range(*content.get("part", (0, len(files))))
        matching = planner.matching(files, among)
        if count:
            read = [files[position] for position in matching]
            self._tables.count_scan(version, snapshot, schema, wanted.pruning, wanted.columns, read)
        whole = {key: value for key, value in content.items() if key != "part"}
        return ScanPlan(
            self._plan_id(whole),
            metadata,
            tuple(planner.task(files[position]) for position in matching[:TASKS]),
            frozenset(content["statistics"]),
            tuple(self._tokens.write({**whole, "part": part}) for part in _parts(matching, among.stop, content)),
        )

    def _files(
        self, name: str, metadata: TableMetadata, snapshot: IcebergSnapshot | None, after: int | None
    ) -> tuple[LiveFile, ...]:
        files = self._tables.io.files
        if after is None:
            return files.live(snapshot)
        return appended_files(files, _appends(name, metadata, after, snapshot))

    def _plan_id(self, whole: Mapping[str, Any]) -> str:
        token = self._tokens.write(whole)
        if len(token) <= _LONGEST_ID:
            return token
        digest = hashlib.sha256(token.encode()).hexdigest()
        return self._tokens.write({"dataset_version": whole["dataset_version"], "digest": digest})


def _parts(matching: Sequence[int], end: int, content: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return where the parts behind the first one begin and end; the last may be one of many more."""
    most = max(1, _TOKENS // (_TOKEN + len(orjson.dumps(content["filter"]))))
    begins = list(matching[TASKS::TASKS])[:most]
    return list(zip(begins, [*begins[1:], end], strict=True)) if begins else []


def _check_moments(request: ScanRequest) -> None:
    between = (request.start_snapshot_id, request.end_snapshot_id)
    if request.snapshot_id is not None and between != (None, None):
        raise InvalidInputError("A scan is of one snapshot, or of what came between two, not both.")
    if (request.start_snapshot_id is None) != (request.end_snapshot_id is None):
        raise InvalidInputError("An incremental scan has a start-snapshot-id and an end-snapshot-id, not one of them.")


def _snapshot(name: str, metadata: TableMetadata, request: ScanRequest) -> IcebergSnapshot | None:
    wanted = request.snapshot_id if request.end_snapshot_id is None else request.end_snapshot_id
    if wanted is None:
        return metadata.current_snapshot
    found = metadata.snapshot_by_id(wanted)
    if found is None:
        raise InvalidInputError(f"{name} has no snapshot with the id {wanted}.", hint="It may have expired.")
    return found


def _appends(name: str, metadata: TableMetadata, start: int, end: IcebergSnapshot | None) -> list[IcebergSnapshot]:
    """Return the snapshots behind one and up to another that have appended rows, oldest first."""
    chain: list[IcebergSnapshot] = []
    reached = start
    for snapshot in ancestors(metadata, None if end is None else end.snapshot_id):
        reached = snapshot.snapshot_id
        if reached == start:
            break
        chain.append(snapshot)
    else:
        reached = chain[-1].parent_snapshot_id or 0 if chain else 0
    if reached != start:
        raise InvalidInputError(
            f"The snapshot {start} of {name} does not lead to the other one.", hint="Name an ancestor of it."
        )
    for snapshot in chain:
        if snapshot.summary.get("operation") not in (_APPENDED, _UNCHANGED):
            raise InvalidInputError(
                f"The snapshot {snapshot.snapshot_id} of {name} has not only appended rows, and an incremental scan "
                "tells of nothing else.",
                hint=f"Read what changed with: cordillera dataset changes {name}.",
            )
    return [snapshot for snapshot in reversed(chain) if snapshot.summary.get("operation") == _APPENDED]


def _field_ids(schema: Schema, names: Iterable[str], case_sensitive: bool) -> set[int]:
    found = set()
    for name in names:
        try:
            found.add(schema.find_field(name, case_sensitive=case_sensitive).field_id)
        except ValueError:
            known = ", ".join(one.name for one in schema.fields)
            raise UnknownColumnError(f"There is no column {name[:200]!r}.", hint=f"Columns: {known}.") from None
    return found
