"""A stand-in for Snowflake, as far as it keeps Iceberg tables of files in an object store.

No package brings a Snowflake, and the emulator that there is, fakesnow, knows no Iceberg tables, volumes or catalog
integrations. The statements below are those of Snowflake's SQL reference; any other is an error, as it would be there.
The connector is the real one: it speaks HTTP with this, and logs in by key pair or token.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

USER, ROLE, TOKEN = "loader", "LAKE_LOADER", "hunter2"
VOLUME = CATALOG = "CORDILLERA"
_NAME = r'"(?P<database>\w+)"\."(?P<schema>\w+)"\."(?P<table>\w+)"'
_TEXT = r"'(?P<{}>(?:[^'\\]|''|\\\\)*)'"
_CREATE = re.compile(
    rf"CREATE ICEBERG TABLE {_NAME} EXTERNAL_VOLUME = {_TEXT.format('volume')} CATALOG = {_TEXT.format('catalog')} "
    rf"METADATA_FILE_PATH = {_TEXT.format('path')} COMMENT = {_TEXT.format('comment')}",
    re.DOTALL,
)
_REFRESH = re.compile(rf"ALTER ICEBERG TABLE {_NAME} REFRESH {_TEXT.format('path')}")
_COMMENT = re.compile(rf"COMMENT ON TABLE {_NAME} IS {_TEXT.format('comment')}", re.DOTALL)
_DROP = re.compile(rf"DROP ICEBERG TABLE IF EXISTS {_NAME}")
_SHOW = re.compile(
    rf"SHOW ICEBERG TABLES(?: LIKE {_TEXT.format('pattern')})? "
    r'IN SCHEMA "(?P<database>\w+)"\."(?P<schema>\w+)"(?: LIMIT 1)?'
)
_FILE = re.compile(rf"SELECT SYSTEM\$GET_ICEBERG_TABLE_INFORMATION\('{_NAME}'\) AS \"information\"")
_DESCRIBE = re.compile(r'DESCRIBE (?P<kind>EXTERNAL VOLUME|CATALOG INTEGRATION) "(?P<name>\w+)"')


class RefusalError(Exception):
    """What Snowflake answers when it does not do something."""

    def __init__(self, number: int, told: str) -> None:
        super().__init__(told)
        self.number, self.told = number, told


@dataclass
class Table:
    """An Iceberg table of files in an object store."""

    location: str
    comment: str
    uuid: str | None


@dataclass
class Snowflake:
    """One account, with one external volume and one catalog integration.

    Attributes:
        root: Where the volume begins.
        read: Returns what a metadata file says; None where files are not looked at.
    """

    root: str = "s3://bucket/lake"
    read: Callable[[str], dict[str, Any]] | None = None
    schemas: set[tuple[str, str]] = field(default_factory=lambda: {("ANALYTICS", "LAKE")})
    others: set[str] = field(default_factory=set)
    tables: dict[tuple[str, str, str], Table] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)

    def run(self, statement: str) -> list[dict[str, Any]]:
        """Do what a statement says, and return the rows of the answer."""
        self.statements.append(statement)
        for form, do in (
            (_CREATE, self._create),
            (_REFRESH, self._refresh),
            (_COMMENT, self._describe),
            (_DROP, self._drop),
            (_SHOW, self._show),
            (_FILE, self._file),
            (_DESCRIBE, self._look),
        ):
            if found := form.fullmatch(statement):
                return do(**found.groupdict())
        raise RefusalError(1003, f"SQL compilation error: syntax error: {statement[:60]}")

    def _create(self, volume: str, catalog: str, path: str, comment: str, **name: str) -> list[dict[str, Any]]:
        self._look("EXTERNAL VOLUME", volume)
        self._look("CATALOG INTEGRATION", catalog)
        self._in_schema(name["database"], name["schema"])
        key = (name["database"], name["schema"], name["table"])
        if key in self.tables or name["table"] in self.others:
            raise RefusalError(2002, f"SQL compilation error: Object '{'.'.join(key)}' already exists.")
        location = f"{self.root}/{_plain(path)}"
        self.tables[key] = Table(location, _plain(comment), self._uuid(location))
        return [{"status": f"Table {key[2]} successfully created."}]

    def _refresh(self, path: str, **name: str) -> list[dict[str, Any]]:
        table, location = self._table(**name), f"{self.root}/{_plain(path)}"
        if self._uuid(location) != table.uuid:
            raise RefusalError(91389, "The table's UUID is another in the metadata file.")
        table.location = location
        return [{"status": "Statement executed successfully."}]

    def _describe(self, comment: str, **name: str) -> list[dict[str, Any]]:
        self._table(**name).comment = _plain(comment)
        return [{"status": "Statement executed successfully."}]

    def _drop(self, **name: str) -> list[dict[str, Any]]:
        self.tables.pop((name["database"], name["schema"], name["table"]), None)
        return [{"status": "Drop statement executed successfully."}]

    def _show(self, pattern: str | None, database: str, schema: str) -> list[dict[str, Any]]:
        self._in_schema(database, schema)
        like = re.compile((pattern or "%").replace("%", ".*").replace("_", "."), re.IGNORECASE)
        return [
            {"name": key[2], "database_name": database, "schema_name": schema, "comment": table.comment}
            for key, table in sorted(self.tables.items())
            if key[:2] == (database, schema) and like.fullmatch(key[2])
        ]

    def _file(self, **name: str) -> list[dict[str, Any]]:
        return [{"information": json.dumps({"metadataLocation": self._table(**name).location, "status": "success"})}]

    def _look(self, kind: str, name: str) -> list[dict[str, Any]]:
        if name != VOLUME:
            raise self._missing(f"{kind.title()} '{name}'")
        return [{"property": "ENABLED", "property_value": "true"}]

    def _in_schema(self, database: str, schema: str) -> None:
        if (database, schema) not in self.schemas:
            raise self._missing(f"Schema '{database}.{schema}'")

    def _table(self, database: str, schema: str, table: str) -> Table:
        if (database, schema, table) not in self.tables:
            raise self._missing(f"Table '{database}.{schema}.{table}'")
        return self.tables[database, schema, table]

    def _missing(self, what: str) -> RefusalError:
        return RefusalError(2003, f"SQL compilation error: {what} does not exist or not authorized.")

    def _uuid(self, location: str) -> str | None:
        return None if self.read is None else str(self.read(location)["table-uuid"])


def _plain(literal: str) -> str:
    return literal.replace("''", "'").replace("\\\\", "\\")


# --- the server -----------------------------------------------------------------------------------------------------


@dataclass
class StandIn:
    """A running stand-in, and the key by which its user may log in."""

    port: int
    account: Snowflake
    key: rsa.RSAPrivateKey

    @property
    def settings(self) -> dict[str, str]:
        """A target's settings, but for those of its secret."""
        return {
            "account": "company-lab",
            "user": USER,
            "role": ROLE,
            "database": "analytics",
            "schema": "lake",
            "root": self.account.root,
            "endpoint": f"http://127.0.0.1:{self.port}",
        }

    @property
    def pem(self) -> str:
        """The private key, as people keep it."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def accepts(self, login: dict[str, Any]) -> bool:
        """Tell whether somebody may log in, by key pair or token, as Snowflake does."""
        if login["LOGIN_NAME"].lower() != USER:
            return False
        if login["AUTHENTICATOR"] == "PROGRAMMATIC_ACCESS_TOKEN":
            return bool(login["TOKEN"] == TOKEN)
        public = self.key.public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        digest = hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).digest()
        try:
            claims = jwt.decode(login["TOKEN"], public, algorithms=["RS256"])
        except jwt.InvalidTokenError:
            return False
        subject = f"COMPANY-LAB.{USER.upper()}"
        whole = f"{subject}.SHA256:{b64encode(digest).decode()}"
        return login["AUTHENTICATOR"] == "SNOWFLAKE_JWT" and (claims["sub"], claims["iss"]) == (subject, whole)


@contextmanager
def start_stand_in(account: Snowflake) -> Iterator[StandIn]:
    """Serve an account on loopback for the length of the block."""
    made = StandIn(0, account, rsa.generate_private_key(65537, 2048))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, made, set()))
    made.port = server.server_address[1]
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True

    def __init__(self, stand_in: StandIn, sessions: set[str], *arguments: Any) -> None:
        self.stand_in, self.sessions = stand_in, sessions
        super().__init__(*arguments)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        content = json.dumps(self._answer(urlsplit(self.path), json.loads(body or b"{}"))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, place: Any, body: dict[str, Any]) -> dict[str, Any]:
        if place.path == "/session/v1/login-request":
            return self._login(parse_qs(place.query), body["data"])
        token = self.headers.get("Authorization", "").partition('Token="')[2].rstrip('"')
        if token not in self.sessions:
            return _failure(390104, "User must login again to access the service.")
        if place.path == "/session":
            self.sessions.discard(token)
            return {"success": True, "data": None, "code": None, "message": None}
        try:
            return _success(self.stand_in.account.run(body["sqlText"]))
        except RefusalError as refusal:
            return _failure(refusal.number, refusal.told)

    def _login(self, query: dict[str, list[str]], login: dict[str, Any]) -> dict[str, Any]:
        if not self.stand_in.accepts(login):
            return _failure(390144, "JWT token is invalid.")
        if query.get("roleName") != [ROLE]:
            return _failure(390186, f"Role '{query.get('roleName')}' is not granted to this user.")
        token = uuid4().hex
        self.sessions.add(token)
        return {"success": True, "data": {"token": token, "masterToken": uuid4().hex, "parameters": []}}


def _failure(number: int, told: str) -> dict[str, Any]:
    code = f"{number:06d}"
    return {"success": False, "code": code, "message": told, "data": {"errorCode": code, "sqlState": "42000"}}


def _success(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = list(rows[0]) if rows else ["name"]
    kind = {"type": "text", "length": 1000, "precision": None, "scale": None, "nullable": True}
    data = {
        "queryResultFormat": "json",
        "rowtype": [{"name": name, **kind} for name in names],
        "rowset": [[row[name] for name in names] for row in rows],
        "total": len(rows),
        "returned": len(rows),
        "parameters": [],
        "queryId": str(uuid4()),
        "statementTypeId": 0x1000,
        "finalDatabaseName": None,
        "finalSchemaName": None,
        "finalWarehouseName": None,
        "finalRoleName": ROLE,
    }
    return {"success": True, "code": None, "message": None, "data": data}
