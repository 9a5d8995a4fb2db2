"""A stand-in for Amazon Redshift: PostgreSQL, spoken to by Redshift's own driver, with real transactions and locks.

Three things make it one. A proxy takes from the driver's start-up message what only Redshift knows. A database has
functions, types and a view that only Redshift has. And a session rewrites those few statements that PostgreSQL cannot
parse; for COPY it loads the very files that the statement's manifest names. What remains is run as it is.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pyarrow.parquet as pq
import redshift_connector
from psycopg import conninfo
from redshift_connector.core import Connection
from redshift_connector.cursor import Cursor

from cordillera.adapters.storage import build_storage
from cordillera.adapters.synchronizers.postgres_binary import SIGNATURE, TRAILER, to_binary
from cordillera.adapters.synchronizers.redshift import RedshiftSynchronizer
from cordillera.adapters.synchronizers.redshift_session import Session
from cordillera.adapters.synchronizers.redshift_statements import Layout
from cordillera.ports.storage import Storage

ROLE = "arn:aws:iam::123456789012:role/lake-staging"

_BYTEA, _AS_TEXT = 17, 0
_CHUNK_BYTES = 256 * 1024
_KNOWN_TO_POSTGRES = {b"user", b"database", b"application_name"}
_FUNCTIONS = """
    CREATE DOMAIN super AS jsonb;
    CREATE DOMAIN varbyte AS bytea;
    CREATE FUNCTION json_parse(varbyte) RETURNS super LANGUAGE sql IMMUTABLE STRICT
        AS $$ SELECT convert_from($1, 'UTF8')::jsonb $$;
    CREATE FUNCTION json_serialize_to_varbyte(super) RETURNS varbyte LANGUAGE sql IMMUTABLE
        AS $$ SELECT convert_to(coalesce($1::text, 'null'), 'UTF8') $$;
    CREATE FUNCTION to_hex(varbyte) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT encode($1, 'hex') $$;
    CREATE FUNCTION strtol(text, int) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
        AS $$ SELECT ('x' || lpad($1, 16, '0'))::bit(64)::bigint $$;
    CREATE FUNCTION datediff(text, timestamp, timestamp) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
        AS $$ SELECT CASE $1 WHEN 'day' THEN $3::date - $2::date
                             ELSE (extract(epoch FROM $3 - $2) * 1000000)::bigint END $$;
    CREATE VIEW svv_relation_privileges AS
        SELECT n.nspname AS namespace_name, c.relname AS relation_name, x.privilege_type, r.rolname AS identity_name,
               'user' AS identity_type, x.is_grantable AS admin_option
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) x
        JOIN pg_roles r ON r.oid = x.grantee;
"""
_COPY = re.compile(r"COPY (\".*\") FROM '(.*)' IAM_ROLE (?:DEFAULT|'[^']*') FORMAT AS PARQUET MANIFEST")
_REWRITES = (  # what Redshift says of a table that PostgreSQL has no words for, and what it does not enforce
    (re.compile(r"(?<=\)) DISTSTYLE [A-Z]+( DISTKEY \(.*\))?( (COMPOUND )?SORTKEY.*)?$"), ""),
    (re.compile(r", PRIMARY KEY \(.*?\)(?=\)$)"), ""),
    (re.compile(r" COLLATE CASE_SENSITIVE"), ""),
    (re.compile(r"VARBYTE\(\d+\)"), "varbyte"),
    (re.compile(r"DATEDIFF\((microsecond|day), "), r"datediff('\1', "),
)


def _digits(data: bytes, offset: int, length: int) -> str:
    """Return what the driver makes of VARBYTE, of a ``bytea`` as PostgreSQL spells it."""
    return data[offset : offset + length].removeprefix(b"\\x").decode()


class StandInSession(Session):
    """Runs what Redshift would run; see the module.

    Args:
        connection: Of Redshift's driver, to PostgreSQL.
        storage: Where COPY reads.
        recorded: Gets every statement.
    """

    def __init__(self, connection: Connection, storage: Storage, recorded: list[str]) -> None:
        super().__init__(connection, "Redshift target stand-in")
        self._storage, self._recorded = storage, recorded
        connection.redshift_types[_BYTEA] = (_AS_TEXT, _digits)

    def _execute(self, statement: str, values: Sequence[Any] | None) -> Cursor:
        self._recorded.append(statement)
        if copied := _COPY.fullmatch(statement):
            return self._copy(*copied.groups())
        for pattern, instead in _REWRITES:
            statement = pattern.sub(instead, statement)
        return super()._execute(statement, values)

    def _copy(self, table: str, manifest: str) -> Cursor:
        """Load the files of a manifest, as the server's own COPY reads them from its disk."""
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            Path(folder).chmod(0o755)  # the server runs under another account
            rows = Path(folder) / "rows"
            with rows.open("wb") as sink:
                sink.write(SIGNATURE)
                for entry in json.loads(self._storage.read(manifest))["entries"]:
                    with self._storage.open_input(entry["url"]) as source:
                        assert source.size() == entry["meta"]["content_length"]
                        for batch in pq.ParquetFile(source).iter_batches():
                            sink.write(to_binary(batch))
                sink.write(TRAILER)
            rows.chmod(0o644)
            return super()._execute(f"COPY {table} FROM '{rows}' (FORMAT binary)", None)


@contextmanager
def stand_in_proxy(dsn: str) -> Iterator[int]:
    """Yield a port of loopback behind which PostgreSQL understands Redshift's driver."""
    parts = conninfo.conninfo_to_dict(dsn)
    server_path = f"{parts['host']}/.s.PGSQL.{parts.get('port', '5432')}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, server_path))
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def _accept(listener: socket.socket, server_path: str) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, server_path), daemon=True).start()


def _serve(client: socket.socket, server_path: str) -> None:
    """Hand a connection's bytes to and fro, the first message changed."""
    with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError, struct.error):
        (length,) = struct.unpack("!i", client.recv(4, socket.MSG_WAITALL))
        server.connect(server_path)
        server.sendall(_understood(client.recv(length - 4, socket.MSG_WAITALL)))
        answers = threading.Thread(target=_pump, args=(server, client), daemon=True)
        answers.start()
        _pump(client, server)
        answers.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _understood(message: bytes) -> bytes:
    """Return a start-up message without the parameters that only Redshift knows, behind its new length."""
    names, values = message[4:].split(b"\0")[:-2:2], message[4:].split(b"\0")[1:-1:2]
    kept = [part for pair in zip(names, values, strict=False) if pair[0] in _KNOWN_TO_POSTGRES for part in pair]
    body = message[:4] + b"".join(part + b"\0" for part in kept) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def prepare_database(dsn: str) -> None:
    """Give a database what Redshift has and PostgreSQL has not."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(_FUNCTIONS)


@dataclass(frozen=True)
class StandIn:
    """A prepared database behind the proxy, and one schema of it.

    Attributes:
        port: Of the proxy.
        database: Its name.
        schema: Where tables are.
        staging: The staging folder.
        options: Of the staging folder's storage.
        recorded: Every statement that its sessions are asked to run, as Redshift would get it.
    """

    port: int
    database: str
    schema: str
    staging: str
    options: dict[str, str] = field(default_factory=dict)
    recorded: list[str] = field(default_factory=list)

    def target(self, *, user: str = "postgres", layout: Layout | None = None) -> RedshiftSynchronizer:
        """Return the synchronizer of a user."""
        storage = build_storage(self.staging, self.options)
        return RedshiftSynchronizer(
            lambda: self.session(storage, user), storage, ROLE, schema=self.schema, layout=layout or Layout()
        )

    def location(self) -> str:
        """Return what another process makes the same of: ``StandIn(**json.loads(location))``."""
        return json.dumps(asdict(replace(self, recorded=[])))

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run what somebody else does to the database, and return the rows of its answer."""
        with closing(self.session(build_storage(self.staging, self.options))) as session:
            cursor = session._connection.cursor()
            cursor.execute(f"SET search_path TO {self.schema}, public")
            cursor.execute(statement)
            found = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            session._connection.commit()
            return found

    def session(self, storage: Storage, user: str = "postgres") -> StandInSession:
        connection = redshift_connector.connect(
            host="127.0.0.1",
            port=self.port,
            database=self.database,
            user=user,
            password="any",
            ssl=False,
            application_name="cordillera",
            max_prepared_statements=0,
        )
        return StandInSession(connection, storage, self.recorded)


def stand_in(database: tuple[int, str], staging: str, **options: str) -> StandIn:
    """Return a stand-in with an empty schema of its own.

    Args:
        database: The port of the proxy and the name of a prepared database.
        staging: The staging folder.
        options: Of the staging folder's storage.
    """
    made = StandIn(*database, f"s{uuid4().hex}", staging, options)
    made.execute(f"CREATE SCHEMA {made.schema}")
    return made
