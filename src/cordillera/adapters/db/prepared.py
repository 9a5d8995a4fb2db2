"""Statements that nearly every request runs, given to the driver as they are.

For each execution SQLAlchemy looks up what it has compiled, puts the parameters together and describes the rows that
come back. Of a short statement that takes longer than the driver and the database do. A prepared one is put together
by SQLAlchemy like any other, but once; what its columns' types do to values is looked up once too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.sql import visitors

Values: TypeAlias = tuple[Any, ...]
_Convert: TypeAlias = Callable[[Any], Any]
_IDS_KEPT = 256
_MOST_FORMS = 500
"""For so many lengths of its lists a statement is kept."""


class Prepared:
    """A statement that is the same every time but for the values of its parameters.

    Args:
        statement: Lists among the parameters of a SELECT may have any length.
        columns: The columns that an INSERT or UPDATE sets by parameters of their names.
    """

    def __init__(self, statement: sa.Select[Any] | sa.UpdateBase, columns: Sequence[str] = ()) -> None:
        self._statement, self._columns = statement, list(columns) or None
        binds = (one for one in visitors.iterate(statement) if isinstance(one, sa.BindParameter))
        self._lists = sorted({one.key for one in binds if one.expanding})
        self._forms: dict[tuple[str, tuple[int, ...]], _Form] = {}

    def run(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> tuple[list[Values], int]:
        """Execute it.

        Returns:
            The rows that come back, and how many rows the statement has changed.

        Raises:
            SQLAlchemyError, OverflowError, UnicodeEncodeError: What an execution by SQLAlchemy raises.
        """
        dialect = connection.dialect
        key = (dialect.name, tuple(len(parameters[name]) for name in self._lists))
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            form = self._forms[key] = self._form(dialect, parameters)
        arguments = form.arguments(parameters)
        cursor = connection.connection.cursor()
        try:
            connection.dispatch.before_cursor_execute(connection, cursor, form.text, arguments, None, False)
            cursor.execute(form.text, arguments)
            return (form.rows(cursor.fetchall()) if form.returns_rows else []), cursor.rowcount
        except dialect.loaded_dbapi.Error as error:
            raise _wrapped(error, form.text, connection) from error
        finally:
            cursor.close()

    def _form(self, dialect: sa.Dialect, parameters: Mapping[str, Any]) -> _Form:
        """Return the statement with lists of these lengths."""
        statement = self._statement
        if isinstance(statement, sa.Select):
            described = statement.column_descriptions
            statement = statement.params(parameters)
        else:
            described = statement.returning_column_descriptions
        whole = {"render_postcompile": True}
        compiled = statement.compile(dialect=dialect, column_keys=self._columns, compile_kwargs=whole)
        given: list[tuple[str, str, int | None, _Convert | None]] = []
        fixed: dict[str, Any] = {}
        for bind, name in compiled.bind_names.items():
            convert = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if name in self._lists:
                given += [(f"{name}_{n + 1}", name, n, convert) for n in range(len(parameters[name]))]
            elif name in parameters:
                given.append((name, name, None, convert))
            else:
                fixed[name] = convert(bind.effective_value) if convert else bind.effective_value
        order = None if compiled.positiontup is None else tuple(compiled.positiontup)
        kinds = [_reading(one["type"], dialect) for one in described]
        converts = tuple((place, convert) for place, convert in enumerate(kinds) if convert is not None)
        return _Form(compiled.string, tuple(given), fixed, order, converts, bool(described))


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as a driver takes it.

    Attributes:
        text: The SQL.
        given: Of each parameter that executions give: its name there, its name here, the place in the list that it is
            of, and what makes it the driver's.
        fixed: Parameters that are always the same.
        order: The names in their order, for a driver that takes them so.
        converts: What makes values of those that come back, by the place of their column; others stay as they are.
        returns_rows: Whether it does.
    """

    text: str
    given: tuple[tuple[str, str, int | None, _Convert | None], ...]
    fixed: Mapping[str, Any]
    order: tuple[str, ...] | None
    converts: tuple[tuple[int, _Convert], ...]
    returns_rows: bool

    def arguments(self, parameters: Mapping[str, Any]) -> Mapping[str, Any] | Sequence[Any]:
        """Return parameters as the driver takes them.

        Raises:
            StatementError: If one cannot be kept.
        """
        made = dict(self.fixed)
        try:
            for name, source, place, convert in self.given:
                value = parameters[source] if place is None else parameters[source][place]
                made[name] = value if convert is None else convert(value)
        except Exception as error:
            raise exc.StatementError(type(error).__name__, self.text, None, error, hide_parameters=True) from error
        return made if self.order is None else [made[name] for name in self.order]

    def rows(self, found: Sequence[Values]) -> list[Values]:
        """Return the rows that the driver gives as values of the columns' types."""
        if not self.converts:
            return list(found)
        made = []
        for row in found:
            values = list(row)
            for place, convert in self.converts:
                values[place] = convert(values[place])
            made.append(tuple(values))
        return made


def _reading(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> _Convert | None:
    """Return what makes values of a column's type; floats are what every driver gives, and need no asking.

    What ids are made of is kept: one commit, or one delivery, meets the same ids dozens of times.
    """
    if isinstance(kind, sa.Float):
        return None
    convert = kind.dialect_impl(dialect).result_processor(dialect, None)
    return lru_cache(_IDS_KEPT)(convert) if convert is not None and isinstance(kind, sa.Uuid) else convert


def execute_plainly(connection: sa.Connection, text: str) -> None:
    """Run a statement that has no parameters and gives back nothing."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _wrapped(error, text, connection) from error
    finally:
        cursor.close()


def _wrapped(error: Any, text: str, connection: sa.Connection) -> BaseException:
    """Return a driver's error as SQLAlchemy's; where the connection is lost, those in the pool are not used either."""
    dialect = connection.dialect
    lost = dialect.is_disconnect(error, connection.connection, None)
    if lost:
        connection.invalidate(error)
        connection.engine.dispose()
    wrapped: BaseException = exc.DBAPIError.instance(
        text, None, error, dialect.loaded_dbapi.Error, True, connection_invalidated=lost, dialect=dialect
    )
    return wrapped
