"""The naming rules for namespaces, datasets, columns and the other objects people name.

Names are used in SQL, URLs, file paths and target databases, so the alphabet is the safe intersection: lower-case ASCII
letters, digits and underscores, beginning with a letter. ``orders_v2`` is reserved for "dataset version 2 of orders".
Namespaces can be within others, ``sales.europe``; the last part of ``sales.europe.orders`` is the dataset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from cordillera.errors import InvalidNameError
from cordillera.spec.argument_types import of_type

NamespaceName = NewType("NamespaceName", str)
DatasetName = NewType("DatasetName", str)

MAX_NAME_LENGTH = 120
MAX_NAMESPACE_LEVELS = 8
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VERSION_SUFFIX = re.compile(r"(?P<name>.+)_v(?P<number>[1-9][0-9]*)")
_COLUMN_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f.]")
RESERVED_COLUMNS = frozenset({"_row_id", "_last_updated_sequence_number", "_file", "_pos", "_deleted", "_partition"})
"""Apache Iceberg's metadata columns."""
COLUMN_SET = "_columns"
"""Column of a sparse partial update: the names of the columns that a row sets."""


@dataclass(frozen=True, slots=True, order=True)
class DatasetRef:
    """A dataset by name, and optionally one of its dataset versions: ``sales.orders`` or ``sales.orders_v2``.

    Attributes:
        namespace: With those that it is within: ``sales.europe``.
    """

    namespace: str
    name: str
    version: int | None = None

    @property
    def full_name(self) -> str:
        """``namespace.name``, without a dataset version."""
        return f"{self.namespace}.{self.name}"

    def __str__(self) -> str:
        return self.full_name if self.version is None else f"{self.full_name}_v{self.version}"


def check_name(value: str, kind: str) -> str:
    """Return ``value`` if it is a legal name for a ``kind`` of object.

    Raises:
        InvalidNameError: Naming the rule that was broken.
    """
    if len(of_type(value, str, f"{kind} name")) > MAX_NAME_LENGTH:
        raise InvalidNameError(
            f"The {kind} name {value[:40]!r}… has {len(value)} characters.",
            hint=f"Use at most {MAX_NAME_LENGTH}.",
        )
    if not _NAME.fullmatch(value):
        raise InvalidNameError(
            f"{value!r} is not a legal {kind} name.",
            hint="Use lower-case letters, digits and underscores, beginning with a letter, for example 'orders'.",
        )
    return value


def check_namespace_name(value: str) -> str:
    """Return ``value`` if it can name a namespace: one legal name, or several with dots between.

    Raises:
        InvalidNameError: Naming the rule that was broken.
    """
    levels = of_type(value, str, "namespace name").split(".")
    if len(levels) > MAX_NAMESPACE_LEVELS or (len(levels) > 1 and len(value) > MAX_NAME_LENGTH):
        raise InvalidNameError(
            f"The namespace name {value[:40]!r}… has {len(levels)} levels and {len(value)} characters.",
            hint=f"Use at most {MAX_NAMESPACE_LEVELS} levels and {MAX_NAME_LENGTH} characters.",
        )
    for level in levels:
        check_name(level, "namespace")
    return value


def parent_namespace(namespace: str) -> str:
    """Return the name of the namespace that one is directly within; empty for one that is within none."""
    return namespace.rpartition(".")[0]


def enclosing_names(namespace: str) -> tuple[str, ...]:
    """Return a namespace's name and those of the ones that it is within, the nearest first."""
    levels = namespace.split(".")
    return tuple(".".join(levels[:count]) for count in range(len(levels), 0, -1))


def innermost(one: str, other: str) -> str | None:
    """Return, of two namespaces of which one is within the other, or is it, the inner one; None of others.

    The empty name is that of the lake, which all are within.
    """
    inner, outer = (one, other) if len(one) >= len(other) else (other, one)
    return inner if not outer or f"{inner}.".startswith(f"{outer}.") else None


def check_dataset_name(value: str) -> str:
    """Return ``value`` if it can name a dataset; the suffix ``_v<number>`` is kept for dataset versions."""
    check_name(value, "dataset")
    if _VERSION_SUFFIX.fullmatch(value):
        raise InvalidNameError(
            f"{value!r} is not a legal dataset name: the ending _v<number> names a dataset version.",
            hint="Choose a name without that ending.",
        )
    return value


def check_column_name(value: str) -> str:
    """Return ``value`` if it can name a column.

    Column names keep their owner's spelling, so almost anything is allowed; empty names, control characters, dots
    (which address nested fields) and the names Iceberg reserves for metadata columns are not.
    """
    if not of_type(value, str, "column name") or len(value) > 255 or _COLUMN_FORBIDDEN.search(value):
        raise InvalidNameError(
            f"{value[:60]!r} is not a legal column name.",
            hint="Use 1 to 255 characters without dots or control characters.",
        )
    if value in RESERVED_COLUMNS:
        raise InvalidNameError(f"The column name {value!r} is reserved by Apache Iceberg.", hint="Rename it.")
    if value == COLUMN_SET:
        raise InvalidNameError(f"The column name {value!r} is reserved for partial updates.", hint="Rename it.")
    return value


def parse_dataset_ref(text: str) -> DatasetRef:
    """Read ``namespace.dataset`` or ``namespace.dataset_v<number>``; the namespace may be within others.

    Raises:
        InvalidNameError: If the text has another form.
    """
    namespace, dot, name = of_type(text, str, "dataset name").rpartition(".")
    if not dot:
        raise InvalidNameError(
            f"{text!r} does not name a dataset.",
            hint="Write it as namespace.dataset, for example sales.orders.",
        )
    return dataset_ref(namespace, name)


def dataset_ref(namespace: str, name: str) -> DatasetRef:
    """Return the reference to a dataset, or to one of its dataset versions, in a namespace.

    Raises:
        InvalidNameError: If one of the names is none.
    """
    check_namespace_name(namespace)
    check_name(name, "dataset")
    versioned = _VERSION_SUFFIX.fullmatch(name)
    if versioned:
        return DatasetRef(namespace, versioned["name"], int(versioned["number"]))
    return DatasetRef(namespace, name)
