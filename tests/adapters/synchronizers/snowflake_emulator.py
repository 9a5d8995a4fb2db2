"""Serves fakesnow, an emulator of Snowflake on DuckDB, with what it lacks of what native tables are kept with.

Run in an environment of its own (see ``servers_snowflake``): ``python snowflake_emulator.py PORT``. What is added:

- Transactions wait for each other, and a statement that changes something for a transaction, as Snowflake's locks have
  them wait; DuckDB would have one of them fail. A session that ends undoes its transaction.
- What DuckDB refuses is an error of Snowflake's, not a failure of the server, which the connector would try again.
- What is there already is Snowflake's error 2002, not that for what is missing.
- MD5_NUMBER_UPPER64.
- Tables that take each other's name (SWAP WITH), by renames in one transaction of DuckDB's, names with a database and a
  schema in RENAME TO, and CREATE TABLE … LIKE. Comments of tables, which fakesnow keeps by name, go with them.
- SYSTEM$ABORT_TRANSACTION, of whatever transaction is open: Snowflake itself ends one whose client has died.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from typing import Any

import duckdb
import uvicorn
from fakesnow import macros
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.server import login_request as begin_session
from fakesnow.server import routes as served
from fakesnow.server import session as end_session
from fakesnow.server import sessions, to_token
from snowflake.connector.errors import ProgrammingError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_LOCK_TIMEOUT_S = 5
_READING = ("SELECT", "PUT")
_OUR_MACROS = "CREATE MACRO IF NOT EXISTS {0}.main.m_d5_number_upper64(text) AS ('0x' || left(md5(text), 16))::UBIGINT"

_NAME = r'"[^"]+"\."[^"]+"\."[^"]+"'
_SWAP = re.compile(rf"ALTER TABLE ({_NAME}) SWAP WITH ({_NAME})")
_RENAME = re.compile(rf"ALTER TABLE ({_NAME}) RENAME TO ({_NAME})")
_LIKE = re.compile(rf"CREATE TABLE ({_NAME}) LIKE ({_NAME}) COPY GRANTS")
_ABORT = "SELECT SYSTEM$ABORT_TRANSACTION("
_DONE = "SELECT 'Statement executed successfully.' AS status"
_COMMENT = (
    "_fs_global._fs_information_schema._fs_tables_ext WHERE (ext_table_catalog, ext_table_schema, ext_table_name) = "
    "(?, ?, ?)"
)

_free = threading.Condition()
_holder: list[Any] = []
_execute, _macros = FakeSnowflakeCursor.execute, macros.creation_sql


def execute(cursor: FakeSnowflakeCursor, command: str, *arguments: Any, **more: Any) -> FakeSnowflakeCursor:
    """Run a statement when its turn has come."""
    if command.startswith(_ABORT):
        _abort()
        command = _DONE
    verb, connection = command.lstrip().upper(), cursor._conn
    held = bool(_holder) and _holder[0] is connection
    taken = not held and not verb.startswith(_READING)
    if taken:
        _take(connection)
    try:
        return _execute(cursor, _rewritten(connection._duck_conn, command), *arguments, **more)
    except ProgrammingError as error:
        if "already exists!" in str(error.msg):
            raise ProgrammingError(msg=error.msg, errno=2002, sqlstate="42710") from None
        raise
    except duckdb.ConstraintException as error:
        raise ProgrammingError(msg=str(error), errno=100072, sqlstate="22000") from None
    except duckdb.Error as error:
        raise ProgrammingError(msg=str(error), errno=1, sqlstate="XX000") from None
    finally:
        if (taken and not verb.startswith("BEGIN")) or (held and verb.startswith(("COMMIT", "ROLLBACK"))):
            _give(connection)


def _rewritten(duck: Any, command: str) -> str:
    """Do what fakesnow cannot do of a statement, and return what it can."""
    if found := _LIKE.fullmatch(command):
        return f"CREATE TABLE {found[1]} AS SELECT * FROM {found[2]} LIMIT 0"
    if found := _SWAP.fullmatch(command) or _RENAME.fullmatch(command):
        _exchange(duck, *found.groups(), both=bool(_SWAP.fullmatch(command)))
        return _DONE
    return command


def _exchange(duck: Any, one: str, other: str, *, both: bool) -> None:
    """Give a table the name of another one, in the same schema, and that table the name of the first if ``both``."""
    names = [[part.strip('"') for part in name.split(".")] for name in (one, other)]
    comments = [duck.execute(f"SELECT comment FROM {_COMMENT}", name).fetchone() for name in names]
    away = f'{one.rpartition(".")[0]}."_away"'
    steps = [(one, "_away"), (other, names[0][2]), (away, names[1][2])] if both else [(one, names[1][2])]
    duck.execute("BEGIN")
    try:
        for table, name in steps:
            duck.execute(f'ALTER TABLE {table} RENAME TO "{name}"')
        duck.execute("COMMIT")
    except duckdb.CatalogException as error:
        duck.execute("ROLLBACK")
        number, state = (2002, "42710") if "already exists" in str(error) else (2003, "42S02")
        raise ProgrammingError(msg=str(error), errno=number, sqlstate=state) from None
    for name, comment in zip(names, reversed(comments), strict=True):
        duck.execute(f"DELETE FROM {_COMMENT}", name)
        if comment is not None:
            duck.execute(
                "INSERT INTO _fs_global._fs_information_schema._fs_tables_ext VALUES (?, ?, ?, ?)", [*name, comment[0]]
            )


def _abort() -> None:
    """Undo what the connection has done that others wait for."""
    if _holder:
        connection = _holder[0]
        connection._duck_conn.execute("ROLLBACK")
        _give(connection)


def _take(connection: Any) -> None:
    with _free:
        if not _free.wait_for(lambda: not _holder, _LOCK_TIMEOUT_S):
            raise ProgrammingError(msg="Statement has waited for a lock for too long.", errno=625, sqlstate="57014")
        _holder.append(connection)


def _give(connection: Any) -> None:
    with _free:
        if _holder and _holder[0] is connection:
            _holder.clear()
            _free.notify_all()


async def login(request: Request) -> Response:
    """Begin a session, with what the connector has to have been given to end it."""
    told = json.loads((await begin_session(request)).body)
    told["data"]["masterToken"] = told["data"]["token"]
    return JSONResponse(told)


async def session(request: Request) -> Response:
    """End a session, and undo what it has not committed."""
    if bool(request.query_params.get("delete")):
        connection = sessions.get(to_token(request))
        if connection is not None:
            connection._duck_conn.close()
            _give(connection)
    return await end_session(request)


def macros_of(database: str) -> str:
    """Return what makes the functions of a database."""
    return f"{_macros(database)};\n{_OUR_MACROS.format(database)}"


if __name__ == "__main__":
    FakeSnowflakeCursor.execute = execute
    macros.creation_sql = macros_of
    ours = {"/session/v1/login-request": login, "/session": session}
    routes = [Route(path, endpoint, methods=["POST"]) for path, endpoint in ours.items()]
    app = Starlette(routes=[*routes, *(route for route in served if route.path not in ours)])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
