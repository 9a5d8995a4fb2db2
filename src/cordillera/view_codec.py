"""Changes of views as the Iceberg REST specification has them in JSON ("ViewRequirement", "ViewUpdate")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cordillera.commit_codec import check_depth, last_or, read_tagged, updates_from_plain
from cordillera.spec.plain_values import text, whole
from cordillera.spec.view_changes import AddViewVersion, AssertViewUuid, SetCurrentViewVersion, ViewUpdate
from cordillera.spec.view_metadata import ViewVersion

_Object = Mapping[str, Any]
_OF_TABLES = frozenset(
    {"assign-uuid", "upgrade-format-version", "add-schema", "set-location", "set-properties", "remove-properties"}
)


def view_requirements_from_plain(items: Sequence[_Object]) -> tuple[AssertViewUuid, ...]:
    """Return the requirements that decoded JSON describes.

    Raises:
        InvalidInputError: Naming one that is unknown or malformed.
    """
    check_depth(items)
    return tuple(read_tagged(_REQUIREMENTS, item, "type", "requirement of a view") for item in items)


def view_updates_from_plain(items: Sequence[_Object]) -> tuple[ViewUpdate, ...]:
    """Return the updates that decoded JSON describes.

    Raises:
        InvalidInputError: Naming one that is unknown or malformed.
    """
    check_depth(items)
    return tuple(read_tagged(_UPDATES, item, "action", "update of a view") for item in items)


_REQUIREMENTS: Mapping[str, Callable[[_Object], AssertViewUuid]] = {
    "assert-view-uuid": lambda item: AssertViewUuid(text(item["uuid"])),
}

_UPDATES: Mapping[str, Callable[[_Object], ViewUpdate]] = {
    **{name: lambda item: updates_from_plain([item])[0] for name in _OF_TABLES},
    "add-view-version": lambda item: AddViewVersion(ViewVersion.from_dict(item["view-version"])),
    "set-current-view-version": lambda item: SetCurrentViewVersion(last_or(whole(item["view-version-id"]))),
}
