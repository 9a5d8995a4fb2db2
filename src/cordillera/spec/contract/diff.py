"""What changed between two contract documents, each difference told once and classified.

Documents are compared by what they mean: order of keys, comments, quotes and defaults written out are no difference.
What Cordillera acts on is classified by its effect; every other key is told as documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cordillera.spec.contract.changes import (
    Compatibility,
    ContractChange,
    breaking,
    compatible,
    documentation_changes,
)
from cordillera.spec.contract.diff_columns import Pairing, column_changes, described
from cordillera.spec.contract.diff_rules import rule_changes
from cordillera.spec.contract.diff_service_level import service_level_changes
from cordillera.spec.contract.document import read_document
from cordillera.spec.contract.model import Contract, key_of, partition_columns_of
from cordillera.spec.contract.parse import parse_contract

_ROOT_ACTS = ("schema", "slaProperties", "status")
_OBJECT_ACTS = ("properties", "quality")


def contract_changes(old: str | bytes, new: str | bytes) -> list[ContractChange]:
    """Return what changed from one contract document to another, breaking changes first.

    Raises:
        InvalidContractError: If one of them is no valid contract for one dataset.
    """
    before, after = parse_contract(old), parse_contract(new)
    old_root, new_root = read_document(old), read_document(new)
    [old_object], [new_object] = old_root.list_at("schema"), new_root.list_at("schema")
    columns = Pairing.of(described(before.columns, old_object), described(after.columns, new_object))
    changes = [
        *column_changes(columns, "columns."),
        *_order_changes(before, after, columns.new_names),
        *rule_changes(old_object, new_object, columns.new_names),
        *service_level_changes(before, after, old_root, new_root),
        *_status_changes(before.status, after.status),
        *documentation_changes(old_root, new_root, _ROOT_ACTS, ""),
        *documentation_changes(old_object, new_object, _OBJECT_ACTS, "schema."),
    ]
    return sorted(changes, key=lambda change: (change.compatibility is Compatibility.COMPATIBLE, change.element))


def _order_changes(before: Contract, after: Contract, new_names: Mapping[str, str]) -> Iterator[ContractChange]:
    """Yield what changed about several columns together: key, partitioning, order. A new name alone changes none."""

    def renamed(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(new_names.get(name, name) for name in names)

    old_key, new_key = renamed(key_of(before)), key_of(after)
    if old_key != new_key:
        message = f"The primary key changes from {_names(key_of(before))} to {_names(new_key)}."
        yield breaking("key", message, "Joins, merges and subscriptions rely on what identifies a row.")
    old_parts, new_parts = renamed(partition_columns_of(before)), partition_columns_of(after)
    if old_parts != new_parts:
        message = f"The partitioning changes from {_names(partition_columns_of(before))} to {_names(new_parts)}."
        yield compatible("partitioning", message, "It lays out files; rows and columns stay the same.")
    old_order, new_order = renamed(c.name for c in before.columns), tuple(c.name for c in after.columns)
    common = set(old_order) & set(new_order)
    if [one for one in old_order if one in common] != [one for one in new_order if one in common]:
        yield compatible("columns", "The order of the columns changes.", "Columns are known by name.")


def _names(names: Sequence[str]) -> str:
    return f"({', '.join(names)})" if names else "none"


def _status_changes(before: str, after: str) -> Iterator[ContractChange]:
    if before == after:
        return
    message = f"The status changes from {before} to {after}."
    if after.lower() == "retired":
        yield breaking("status", message, "A retired dataset takes no more changes, and nothing is promised of it.")
    else:
        yield compatible("status", message, "What is promised stays as it is.")
