"""What read grants show of a dataset's rows: row filters and column masks, put together and applied to a schema.

A row is shown if some grant shows it; a column in it as the most lenient of the grants that show the row has it.
Filters and masks name columns as people do. They mean the column that was ever called so, whatever it is called by now;
a grant that names what cannot be found, or could be two columns, shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from hashlib import sha256

from pyiceberg.expressions import AlwaysTrue, BooleanExpression, Or
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from cordillera.errors import AccessDeniedError, InvalidExpressionError, NotAllowedError, UnknownColumnError
from cordillera.spec.access import Grant, Privilege
from cordillera.spec.access_tags import fulfils, parse_tag_expression
from cordillera.spec.column_paths import Path, ids_by_path, known_part, paths, renamed_inside
from cordillera.spec.expression import RowFilter, parse_row_filter, with_columns_called
from cordillera.spec.masks import Mask, by_leniency, masked, parse_mask, strictest
from cordillera.spec.narrowed import Narrowed
from cordillera.spec.sql import EVERY_ROW, quote


@dataclass(frozen=True, slots=True)
class EffectiveTags:
    """The policy tags that count for a dataset and its columns.

    Attributes:
        dataset: Those of the dataset: its own, and those of its namespace.
        columns: Those that columns have of their own, by column; they have the dataset's, too.
        masks: The masks that come with tags of columns, by column.
    """

    dataset: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    masks: Mapping[str, tuple[Mask, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GrantedRows:
    """What one grant shows of a dataset.

    Attributes:
        grant: The grant.
        named: Masks of columns that the grant names, in lower case; they go before those by tags.
        tagged: Masks of columns that have tags of their own: the grant's, else those that come with the tags.
        others: The mask of every other column.
    """

    grant: Grant
    named: Mapping[str, Mask]
    tagged: Mapping[str, Mask]
    others: Mask

    @classmethod
    def by(cls, grant: Grant, tags: EffectiveTags) -> GrantedRows:
        """Return what a grant shows of a dataset with certain tags."""
        ways = [(parse_tag_expression(text), parse_mask(name)) for text, name in grant.tag_masks.items()]

        def said(own: Mapping[str, str]) -> list[Mask]:
            return [mask for expression, mask in ways if fulfils({**tags.dataset, **own}, expression)]

        tagged = [(column, strictest(said(own) or tags.masks.get(column, ()))) for column, own in tags.columns.items()]
        named = [(column, parse_mask(name)) for column, name in grant.masks.items()]
        return cls(grant, _by_name(named), _by_name(tagged), strictest(said({})))

    @property
    def everything(self) -> bool:
        """Whether every row is shown as it is."""
        masks = [*({**self.tagged, **self.named}.values()), self.others]
        return not self.grant.row_filter and all(mask is Mask.CLEAR for mask in masks)

    def mask_of(self, names: Iterable[str]) -> Mask:
        """Return the mask of a column that has been called by some names."""
        for masks in (self.named, self.tagged):
            if found := [masks[name] for name in names if name in masks]:
                return strictest(found)
        return self.others


@dataclass(frozen=True, slots=True)
class RowAccess:
    """What somebody sees of a dataset who does not see all of it.

    Attributes:
        dataset, owner: The dataset's, for messages.
        granted: What each of his grants shows; empty if none shows anything.
    """

    dataset: str
    owner: str
    granted: tuple[GrantedRows, ...]

    def of(self, schemas: Sequence[Schema], schema: Schema) -> RowView:
        """Return what is shown of rows that are read under a schema.

        Args:
            schemas: Every schema that the table has had.
            schema: The one to read under.

        Raises:
            AccessDeniedError: If no grant shows anything: each names columns that cannot be found.
        """
        names = _Names(schemas, schema)
        found, problems = [], []
        for one in self.granted:
            try:
                found.append(names.view(one))
            except (UnknownColumnError, InvalidExpressionError) as error:
                problems.append(f"The grant to {one.grant.principal} on {one.grant.on} {error.message}.")
        view = RowView.of(schema, found) if found else None
        if view is None or not view.schema.fields:
            raise AccessDeniedError(
                f"Nothing of {self.dataset} is shown. {' '.join(problems) or 'Every column is hidden.'}",
                hint=f"Ask its owner, {self.owner}, to grant it anew, with columns that are there.",
                details={"privilege": Privilege.READ.value, "on": f"dataset:{self.dataset}"},
            )
        return view


@dataclass(frozen=True, slots=True)
class _View:
    """What one grant shows, by the columns of a schema: the mask of each, by field id."""

    row_filter: RowFilter | None
    masks: Mapping[int, Mask]


class _Names:
    """What names of columns mean in a table, in every schema that it has had."""

    def __init__(self, schemas: Sequence[Schema], schema: Schema) -> None:
        self._schema, self._ever = schema, (*schemas, schema)
        self._names: dict[int, set[str]] = {}
        for column in (column for one in self._ever for column in one.fields):
            self._names.setdefault(column.field_id, set()).add(column.name.lower())

    def view(self, granted: GrantedRows) -> _View:
        """Return what a grant shows, or raise ``UnknownColumnError`` or ``InvalidExpressionError``."""
        had = frozenset[str]().union(*self._names.values())
        unknown = [name for name in granted.named if name not in had]
        if unknown:
            raise UnknownColumnError(f"masks the column {unknown[0]!r}, which this dataset version has never had")
        text = granted.grant.row_filter
        row_filter = parse_row_filter(with_columns_called(text, self._present()), self._schema) if text else None
        masks = {one.field_id: granted.mask_of(self._names[one.field_id]) for one in self._schema.fields}
        return _View(row_filter, masks)

    def _present(self) -> Callable[[Path], Path]:
        """Return what tells the names in the schema of what once had others, and is all that ever had them."""
        ids, now = ids_by_path(self._ever), {field_id: path for path, field_id in paths(self._schema)}

        def present(path: Path) -> Path:
            part = known_part(path, ids)
            meant, told = ids.get(part, set()), ".".join(path[: len(part)] or path)
            if len(meant) > 1:
                raise InvalidExpressionError(f"filters rows by {told!r}, which several columns have been called")
            found = next((one for one in meant if one in now), None)
            if found is None:
                raise UnknownColumnError(f"filters rows by the column {told!r}, which is not there")
            if renamed_inside(found, self._ever):
                raise InvalidExpressionError(f"filters rows by the inside of {told!r}, where names have changed")
            return (*now[found], *path[len(part) :])

        return present


@dataclass(frozen=True, slots=True)
class RowView:
    """What is shown of a table's rows, as SQL over them.

    Attributes:
        schema: The columns that are shown; a masked one may be null.
        clear: Those of them whose values are shown as they are in every row that is shown.
        condition: The condition on rows that are shown.
        columns: The columns that tell which rows are shown, and how.
        pruning: What statistics can decide of the condition.
        expressions: What is shown of each column.
        fingerprint: Another for every view that shows something else of rows that do not change.
    """

    schema: Schema
    clear: frozenset[str]
    condition: str
    columns: tuple[str, ...]
    pruning: BooleanExpression
    expressions: Mapping[str, str]
    fingerprint: str

    @classmethod
    def of(cls, schema: Schema, views: Sequence[_View]) -> RowView:
        """Return what several grants show together."""
        filters = [one.row_filter for one in views]
        every = any(one is None for one in filters)
        known = [one for one in filters if one is not None]
        shown = [one for one in schema.fields if any(view.masks[one.field_id] is not Mask.HIDDEN for view in views)]
        expressions = {one.name: _expression(one, views) for one in shown}
        clear = frozenset(name for name, text in expressions.items() if text == quote(name))
        fields = [one if one.name in clear else _optional(one) for one in shown]
        condition = EVERY_ROW if every else _any_of(known)
        masks = [f"{one.field_id} {expressions.get(one.name)}" for one in schema.fields if one.name not in clear]
        return cls(
            Schema(*fields, schema_id=schema.schema_id),
            clear,
            condition,
            tuple(dict.fromkeys(name for one in known for name in one.columns)),
            AlwaysTrue() if every else reduce(Or, (one.pruning for one in known)),
            expressions,
            sha256("\n".join([condition, *masks]).encode()).hexdigest(),
        )

    def check_clear(self, dataset: str, key: Sequence[str]) -> None:
        """Refuse to follow rows by a key that is masked.

        Raises:
            NotAllowedError: If some column of it is.
        """
        if lacking := [name for name in key if name not in self.clear]:
            raise NotAllowedError(
                f"Rows of {dataset} cannot be followed: {', '.join(lacking)} of its key is masked.",
                hint="Ask whoever granted it for the key in the clear, or read the rows through the server.",
            )

    def narrowed(self, dataset: str, schema: Schema) -> tuple[Narrowed, ...]:
        """Return what of the rows of a dataset, under the schema that they are read under, is not shown; or nothing."""
        shown = [one.name for one in self.schema.fields]
        masked = tuple(name for name in shown if name not in self.clear)
        hidden = tuple(one.name for one in schema.fields if one.name not in shown)
        found = Narrowed(dataset, self.condition != EVERY_ROW, masked, hidden)
        return (found,) if found.filtered or masked or hidden else ()

    @property
    def clear_schema(self) -> Schema:
        """The columns whose statistics may be asked about."""
        return Schema(*(one for one in self.schema.fields if one.name in self.clear))


def _expression(column: NestedField, views: Sequence[_View]) -> str:
    """Return what is shown of a column: in each row by the most lenient of the grants that show it."""
    name = quote(column.name)
    cases: list[str] = []
    masks = by_leniency(view.masks[column.field_id] for view in views)
    for mask in masks:
        filters = [view.row_filter for view in views if view.masks[column.field_id] is mask]
        shown = masked(mask, name, column.field_type)
        if mask is masks[-1] or None in filters:
            return f"CASE {' '.join(cases)} ELSE {shown} END" if cases else shown
        cases.append(f"WHEN {_any_of([one for one in filters if one is not None])} THEN {shown}")
    raise AssertionError("every column has a mask")


def _any_of(filters: Sequence[RowFilter]) -> str:
    return " OR ".join(f"(({one.sql}) IS TRUE)" for one in filters)


def _by_name(masks: Iterable[tuple[str, Mask]]) -> dict[str, Mask]:
    found: dict[str, Mask] = {}
    for column, mask in masks:
        name = column.lower()
        found[name] = strictest([mask, found.get(name, mask)])
    return found


def _optional(column: NestedField) -> NestedField:
    return column.model_copy(update={"required": False})
