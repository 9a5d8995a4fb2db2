"""Queries that read views: each mention of one becomes the query that the view stands for, down to the datasets."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, SqlglotError

from cordillera.errors import InvalidNameError, InvalidSqlError, NotAllowedError
from cordillera.spec.names import DatasetRef, dataset_ref, parse_dataset_ref
from cordillera.spec.query import join_levels, parse_select
from cordillera.spec.sql import parsed_one
from cordillera.spec.view_metadata import ViewMetadata

_DIALECT = "duckdb"
_MOST, _DEEPEST = 200, 20
"""So many mentions of views are followed in one query, and views within views: they would grow by themselves."""
_OF_TABLES = ("joins", "laterals", "pivots", "sample")

FindView = Callable[[DatasetRef], ViewMetadata | None]


def expand_views(text: str, find: FindView, lake: str) -> str:
    """Return a query with the queries of the views that it reads in their place.

    Args:
        text: The query, in DuckDB's dialect.
        find: Returns the view of a name; None if the name is not a view's.
        lake: The lake's name: engines that write a catalog in front of names may have called it so.

    Raises:
        InvalidSqlError: If it cannot be read, or a view has no SQL that can be run here.
        NotAllowedError: If a view reads itself, by whatever way, or there are too many of them.
    """
    tree = parse_select(text)
    _Expansion(find, lake).expand(tree, ())
    return tree.sql(dialect=_DIALECT)


def check_no_cycle(name: str, metadata: ViewMetadata, find: FindView, lake: str) -> None:
    """Refuse a view that would read itself. Of what is written in a dialect that is not known here nobody can tell.

    Raises:
        NotAllowedError: Naming the views that lead back to it.
    """
    ref = parse_dataset_ref(name)
    with suppress(InvalidSqlError):
        _Expansion(lambda one: metadata if one == ref else find(one), lake).definition(ref, metadata, ())


@dataclass
class _Expansion:
    """Puts queries in the place of views; counts how often."""

    find: FindView
    lake: str
    count: int = 0

    def expand(self, tree: exp.Query, path: tuple[DatasetRef, ...]) -> None:
        """Put the queries of views into a query; ``path`` are the views that it is part of."""
        for table in list(tree.find_all(exp.Table)):
            ref = _ref(table)
            metadata = None if ref is None else self.find(ref)
            if ref is None or metadata is None:
                continue
            _name_columns_by_alias(tree, table)
            inner = self.definition(ref, metadata, path)
            alias = exp.TableAlias(this=exp.to_identifier(table.alias_or_name))
            given = table.args.get("alias")
            columns = list(given.columns) if given is not None and given.columns else _renamed(inner, metadata)
            if columns:
                alias.set("columns", columns)
            kept = {name: table.args[name] for name in _OF_TABLES if table.args.get(name)}
            table.replace(exp.Subquery(this=inner, alias=alias, **kept))

    def definition(self, ref: DatasetRef, metadata: ViewMetadata, path: tuple[DatasetRef, ...]) -> exp.Query:
        """Return the query of a view, down to the datasets, with the columns that the view has."""
        self.count += 1
        if ref in path:
            shown = " → ".join(map(str, (*path[path.index(ref) :], ref)))
            raise NotAllowedError(f"The view {ref} reads itself: {shown}.", hint="Replace one of them.")
        if self.count > _MOST or len(path) >= _DEEPEST:
            raise NotAllowedError(
                f"The view {ref} is one of too many that are read within views.",
                hint=f"Nest views up to {_DEEPEST} deep, and mention up to {_MOST} together.",
            )
        tree = self._own(str(ref), metadata)
        self.expand(tree, (*path, ref))
        names, found = [field.name for field in metadata.schema.fields], tree.selects
        if any(one.is_star for one in found):  # what its datasets have got since is no part of it
            chosen = [exp.column(exp.to_identifier(name, quoted=True)) for name in names]
            return exp.select(*chosen).from_(exp.Subquery(this=tree, alias=exp.TableAlias(this=exp.to_identifier("v"))))
        if len(found) != len(names):
            raise InvalidSqlError(f"The view {ref} has {len(names)} columns, and its SQL {len(found)}.")
        return tree

    def _own(self, name: str, metadata: ViewMetadata) -> exp.Query:
        """Return the SQL of a view as a query in DuckDB's dialect, with all names whole."""
        version = metadata.current
        for dialect in sorted(version.sql, key=lambda one: one.lower() != _DIALECT):
            tree = _converted(version.sql[dialect], dialect.lower())
            if tree is not None:
                _complete_names(tree, version.default_namespace, {version.default_catalog, self.lake})
                return tree
        raise InvalidSqlError(
            f"The view {name} cannot be read here: its SQL is for {', '.join(version.sql)}.",
            hint="Replace it with one that has SQL for duckdb, too.",
        )


def _converted(text: str, dialect: str) -> exp.Query | None:
    """Return SQL as a query in DuckDB's dialect; None if its dialect, or a part of it, cannot be converted."""
    if Dialect.get(dialect) is None:
        return None
    try:
        tree = parsed_one(text, dialect)
        if dialect != _DIALECT:
            converted = tree.sql(dialect=_DIALECT, unsupported_level=ErrorLevel.RAISE)
            tree = parsed_one(converted, _DIALECT)
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Query) else None


def _complete_names(tree: exp.Query, namespace: tuple[str, ...], catalogs: Collection[str | None]) -> None:
    """Write names whole, as a query here has them; ``catalogs`` are names of the one that there is."""
    with_names = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    names: list[exp.Table | exp.Column] = [*tree.find_all(exp.Table), *tree.find_all(exp.Column)]
    for named in names:
        if named.catalog and named.catalog in catalogs:
            named.set("catalog", None)
    for table in tree.find_all(exp.Table):
        plain = not table.args.get("db") and not isinstance(table.this, exp.Func) and table.name not in with_names
        if plain and namespace:
            table.set("db", exp.to_identifier(".".join(namespace), quoted=True))
        else:
            join_levels(table)


def _ref(table: exp.Table) -> DatasetRef | None:
    if isinstance(table.this, exp.Func) or not table.args.get("db"):
        return None
    try:
        return dataset_ref(table.db, table.name)
    except InvalidNameError:
        return None  # whatever is wrong with it, who reads the query will say so


def _renamed(inner: exp.Query, metadata: ViewMetadata) -> list[exp.Identifier]:
    """Return the names of a view's columns if its SQL calls them otherwise."""
    names = [field.name for field in metadata.schema.fields]
    same = [name.lower() for name in names] == [one.output_name.lower() for one in inner.selects]
    return [] if same else [exp.to_identifier(name, quoted=True) for name in names]


def _name_columns_by_alias(tree: exp.Query, table: exp.Table) -> None:
    """Let ``namespace.view.column`` be ``view.column``: what stands in the view's place has no namespace."""
    for column in tree.find_all(exp.Column):
        if column.db == table.db and column.table == table.name:
            column.set("db", None)
