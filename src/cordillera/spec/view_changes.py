"""How views change: updates, in the terms of the Iceberg REST specification ("CommitViewRequest")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from pyiceberg.schema import Schema

from cordillera.errors import CommitConflictError, InvalidInputError, NotAllowedError
from cordillera.spec.commit import AddSchema, RemoveProperties, SetProperties, Update, UpgradeFormatVersion
from cordillera.spec.metadata_updates import AssignUuid, SetLocation
from cordillera.spec.texts import MOST_PROPERTIES
from cordillera.spec.view_metadata import FORMAT_VERSION, ViewMetadata, ViewVersion

LAST_ADDED = -1
"""Stands for the schema that the same change added last."""
_HISTORY = "version.history.num-entries"
_HISTORY_DEFAULT, _HISTORY_MOST = 10, 100
_DROPS_DIALECTS = "replace.drop-dialect.allowed"
_LONGEST_PROPERTIES = 100_000
_FIELD_IDS = 2**31


@dataclass(frozen=True, slots=True)
class AddViewVersion:
    """Add a view version."""

    version: ViewVersion


@dataclass(frozen=True, slots=True)
class SetCurrentViewVersion:
    """Make a view version the one that the view means; None for the one added last."""

    version_id: int | None = None


@dataclass(frozen=True, slots=True)
class AssertViewUuid:
    """The view is the one that is meant."""

    uuid: str


ViewUpdate: TypeAlias = Update | AddViewVersion | SetCurrentViewVersion


def check_view(requirements: Iterable[AssertViewUuid], metadata: ViewMetadata, name: str) -> None:
    """Refuse a change by who means another view.

    Raises:
        CommitConflictError: Naming the view.
    """
    for requirement in requirements:
        if requirement.uuid.lower() != metadata.view_uuid:
            raise CommitConflictError(
                f"The view {name} is another one now: its id is {metadata.view_uuid}.", hint="Load it again."
            )


def change_view(metadata: ViewMetadata, updates: Sequence[ViewUpdate], name: str, now_ms: int) -> ViewMetadata:
    """Return a view as it is after updates.

    Args:
        metadata: The view.
        updates: What is to change, in order.
        name: The view's name, for messages.
        now_ms: The time in milliseconds since the epoch.

    Raises:
        InvalidInputError: If an update is none for views, or refers to what is not there.
        NotAllowedError: If it would move the view, make it another one, or take a dialect from it.
    """
    change = _Change(metadata, name, now_ms)
    for update in updates:
        change.apply(update)
    return change.result(metadata)


class _Change:
    """A change in progress; remembers what was added last."""

    def __init__(self, metadata: ViewMetadata, name: str, now_ms: int) -> None:
        self._state, self._name, self._now_ms = metadata, name, now_ms
        self._last_schema: int | None = None
        self._last_version: int | None = None
        self._added: set[int] = set()

    def apply(self, update: ViewUpdate) -> None:
        """Take in an update."""
        state, name = self._state, self._name
        match update:
            case AddSchema(schema):
                self._add_schema(schema)
            case AddViewVersion(version):
                self._add_version(version)
            case SetCurrentViewVersion(version_id):
                self._set_current(version_id)
            case SetProperties(properties):
                self._set_properties(properties)
            case RemoveProperties(names):
                self._set_properties(dict.fromkeys(one for one in names if one in state.properties))
            case UpgradeFormatVersion(number) if number != FORMAT_VERSION:
                raise InvalidInputError(f"The view {name} cannot have the format version {number}; there is only 1.")
            case AssignUuid(uuid) if uuid.lower() != state.view_uuid:
                raise NotAllowedError(f"The view {name} cannot become another one.", hint="Create another view.")
            case SetLocation(location) if location.rstrip("/") != state.location:
                raise NotAllowedError(f"The view {name} cannot be moved to {location[:200]!r}: the lake chooses where.")
            case UpgradeFormatVersion() | AssignUuid() | SetLocation():
                pass
            case _:
                raise InvalidInputError(f"{type(update).__name__} is no update of a view.")

    def result(self, before: ViewMetadata) -> ViewMetadata:
        """Return the view, without what is too old to be kept."""
        if before.versions and self._state.properties.get(_DROPS_DIALECTS, "").lower() != "true":
            kept = {dialect.lower() for dialect in self._state.current.sql}
            if lost := [dialect for dialect in before.current.sql if dialect.lower() not in kept]:
                raise NotAllowedError(
                    f"The view {self._name} would lose its SQL for {', '.join(lost)}.",
                    hint=f"Give it for every dialect, or set the property {_DROPS_DIALECTS} to true.",
                )
        return self._without_old(self._state)

    def _add_schema(self, schema: Schema) -> None:
        if not schema.fields:
            raise InvalidInputError(f"The view {self._name} needs at least one column.")
        try:
            schema.model_dump_json()  # JSON allows halves of characters, which nothing can store
            storable = schema.highest_field_id < _FIELD_IDS
        except ValueError:
            storable = False
        if not storable:
            raise InvalidInputError(f"The columns of the view {self._name} have names or ids that cannot be stored.")
        known = self._state.schemas
        same = [one.schema_id for one in known if one == schema]  # ids do not count
        self._last_schema = same[0] if same else max((one.schema_id for one in known), default=-1) + 1
        if not same:
            added = schema.model_copy(update={"schema_id": self._last_schema})
            self._state = replace(self._state, schemas=(*known, added))

    def _add_version(self, version: ViewVersion) -> None:
        if version.schema_id == LAST_ADDED:
            if self._last_schema is None:
                raise InvalidInputError(f"The new version of the view {self._name} has no columns: none were added.")
            version = replace(version, schema_id=self._last_schema)
        if version.schema_id not in {one.schema_id for one in self._state.schemas}:
            raise InvalidInputError(f"The view {self._name} has no schema {version.schema_id}.")
        known = self._state.versions
        same = next((one.version_id for one in known if one.means(version)), None)
        if same is not None:
            self._last_version = same
            return
        number = max([version.version_id, *(one.version_id + 1 for one in known)])
        self._state = replace(self._state, versions=(*known, replace(version, version_id=number)))
        self._last_version = number
        self._added.add(number)

    def _set_current(self, version_id: int | None) -> None:
        wanted = self._last_version if version_id is None else version_id
        found = next((one for one in self._state.versions if one.version_id == wanted), None)
        if found is None:
            what = "no version was added" if version_id is None else f"it has none of the id {version_id}"
            raise InvalidInputError(f"The view {self._name} has no such version: {what}.")
        if self._state.version_log and found.version_id == self._state.current_version_id:
            return
        since = found.timestamp_ms if found.version_id in self._added else self._now_ms
        entry = {"timestamp-ms": since, "version-id": found.version_id}
        self._state = replace(
            self._state, current_version_id=found.version_id, version_log=(*self._state.version_log, entry)
        )

    def _set_properties(self, changes: Mapping[str, str | None]) -> None:
        after = {key: text for key, text in {**self._state.properties, **changes}.items() if text is not None}
        size = sum(len(key) + len(text) for key, text in after.items())
        if len(after) > MOST_PROPERTIES or size > _LONGEST_PROPERTIES or "" in after:
            raise InvalidInputError(
                f"The view {self._name} would have {len(after)} properties of {size:,} characters.",
                hint=f"Use at most {MOST_PROPERTIES} of {_LONGEST_PROPERTIES:,} together, and name each.",
            )
        self._state = replace(self._state, properties=after)

    def _without_old(self, state: ViewMetadata) -> ViewMetadata:
        most = max(_history(state.properties, self._name), len(self._added | {state.current_version_id}))
        newest = sorted((one.version_id for one in state.versions), reverse=True)
        others = [number for number in newest if number != state.current_version_id]
        kept = {state.current_version_id, *others[: most - 1]}
        log: list[Mapping[str, int]] = []
        for entry in state.version_log:  # what was before a version that is gone is no history any more
            log = [*log, entry] if entry["version-id"] in kept else []
        versions = tuple(one for one in state.versions if one.version_id in kept)
        used = {one.schema_id for one in versions}
        return replace(
            state,
            versions=versions,
            version_log=tuple(log[-_HISTORY_MOST:]),
            schemas=tuple(schema for schema in state.schemas if schema.schema_id in used),
        )


def _history(properties: Mapping[str, str], name: str) -> int:
    """Return how many view versions are kept."""
    text = properties.get(_HISTORY, str(_HISTORY_DEFAULT))
    if not text.isdecimal() or not 1 <= int(text[:9]) <= _HISTORY_MOST:
        raise InvalidInputError(f"The view {name} cannot keep {text[:20]!r} versions.", hint=f"1 to {_HISTORY_MOST}.")
    return int(text)
