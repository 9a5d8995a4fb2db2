"""Prepared statements give what SQLAlchemy gives, and are seen by whoever watches statements."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import event, exc

from cordillera.adapters.db.engine import open_database
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.schema import namespaces
from cordillera.testing.metadata_samples import NOW

_ROWS = [
    {
        "id": UUID(int=n + 10),
        "name": name,
        "owner": "user:ada",
        "description": "",
        "created_at": NOW,
        "properties": {"n": n},
    }
    for n, name in enumerate(("europe", "sales", "trips"))
]
_NAMED = (
    sa.select(*(namespaces.c[name] for name in _ROWS[0]))
    .where(namespaces.c.name.in_(sa.bindparam("names", expanding=True)), namespaces.c.owner == sa.bindparam("who"))
    .order_by(namespaces.c.name)
    .limit(2)
)


@pytest.fixture
def connection(url: str) -> Iterator[sa.Connection]:
    database = open_database(url)
    with database.writer.connect() as connection:
        transaction = connection.begin()
        connection.execute(sa.insert(namespaces), _ROWS)
        yield connection
        transaction.rollback()
    database.close()


@pytest.mark.parametrize("names", [[], ["sales"], ["trips", "europe"], ["europe", "sales", "trips", "none"]])
def test_lists_of_any_length_and_values_of_every_kind_are_those_of_sqlalchemy(
    connection: sa.Connection, names: list[str]
) -> None:
    prepared, given = Prepared(_NAMED), {"names": names, "who": "user:ada"}
    expected = [tuple(row) for row in connection.execute(_NAMED, given)]
    assert [prepared.run(connection, given)[0] for _ in range(2)] == [expected, expected]
    assert prepared.run(connection, {**given, "who": "user:eve"})[0] == []


def test_changes_are_counted_and_what_they_return_comes_back(connection: sa.Connection) -> None:
    insert = Prepared(sa.insert(namespaces).returning(namespaces.c.properties), list(_ROWS[0]))
    row = {**_ROWS[0], "id": UUID(int=99), "name": "more", "properties": {"deep": [1, {"x": None}]}}
    assert insert.run(connection, row) == ([({"deep": [1, {"x": None}]},)], 1)
    renamed = Prepared(sa.update(namespaces).where(namespaces.c.owner == sa.bindparam("who")), ["description"])
    assert renamed.run(connection, {"who": "user:ada", "description": "hers"}) == ([], 4)
    assert connection.scalar(sa.select(sa.func.count()).where(namespaces.c.description == "hers")) == 4


def test_a_value_that_cannot_be_kept_is_an_error_of_sqlalchemy_without_the_value(connection: sa.Connection) -> None:
    insert = Prepared(sa.insert(namespaces).inline(), list(_ROWS[0]))
    with pytest.raises(exc.StatementError) as caught:
        insert.run(connection, {**_ROWS[0], "id": UUID(int=99), "name": "more", "created_at": NOW.replace(tzinfo=None)})
    assert "more" not in str(caught.value)
    with pytest.raises(exc.IntegrityError) as caught, connection.begin_nested():
        insert.run(connection, _ROWS[0])
    assert "europe" not in str(caught.value).partition("\n")[2]


def test_whoever_watches_statements_is_told_of_it(connection: sa.Connection) -> None:
    seen: list[str] = []
    event.listen(connection, "before_cursor_execute", lambda *told: seen.append(told[2]))
    Prepared(_NAMED).run(connection, {"names": ["sales"], "who": "user:ada"})
    assert len(seen) == 1
    assert "FROM namespaces" in seen[0]
