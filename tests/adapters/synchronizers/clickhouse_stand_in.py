"""A stand-in for a ClickHouse server: ClickHouse's own engine, chDB, behind as much of its HTTP interface as is used.

The engine is real: tables, parts, mutations, names and errors are ClickHouse's. What stands in is the server around it:
users (there is one), and HTTP. It is a process of its own, so that a test can end it, or whoever talks to it.

Run as a program, it serves the data in a folder until its input ends. Arguments: the folder, and a port or 0.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

from cordillera.adapters.synchronizers.clickhouse import ClickHouseSynchronizer
from cordillera.adapters.synchronizers.clickhouse_session import Place

USER, PASSWORD = "loader", "hunter2"
_AUTHORIZATION = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_ROOT = Path(__file__).parents[3]
_INSERT = re.compile(rb"(INSERT INTO [^\n]*) FORMAT (ArrowStream)\s*", re.DOTALL)
_FORMAT = re.compile(r"\s*FORMAT (\w+)\s*$")
_NOT_SETTINGS = ("query", "database", "session_id", "query_id", "wait_end_of_query", "client_protocol_version")
_CHEAPER = {
    "log_queries": "0",
    "query_profiler_cpu_time_period_ns": "0",
    "query_profiler_real_time_period_ns": "0",
}
_CODE = re.compile(r"Code: (\d+)")


@dataclass
class StandIn:
    """A running stand-in, and one database of it.

    Attributes:
        port: On loopback.
        database: Where tables are.
    """

    port: int
    database: str
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def place(self) -> Place:
        """Where a synchronizer finds it."""
        return Place("127.0.0.1", self.port, False, USER, self.database)

    def target(self) -> ClickHouseSynchronizer:
        """Return the synchronizer."""
        return ClickHouseSynchronizer(self.place, lambda: PASSWORD)

    def location(self) -> str:
        """Return what another process makes the same place of: ``Place(*json.loads(location))``."""
        return json.dumps(astuple(self.place))

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run what somebody else does to the database, and return the rows of its answer."""
        answers = statement.lstrip().startswith("SELECT")
        request = Request(
            f"http://127.0.0.1:{self.port}/?database={self.database}",
            f"{statement} FORMAT JSONCompact".encode() if answers else statement.encode(),
            {"Authorization": _AUTHORIZATION},
        )
        try:
            with urlopen(request) as response:
                content = response.read()
        except HTTPError as error:
            raise RuntimeError(error.read().decode()) from None
        return [tuple(row) for row in json.loads(content)["data"]] if answers else []

    def another_database(self) -> StandIn:
        """Return the same server with an empty database of its own."""
        made = StandIn(self.port, f"d{uuid4().hex}", self.process)
        StandIn(self.port, "system", self.process).execute(f"CREATE DATABASE {made.database}")
        return made


@contextmanager
def start_stand_in(folder: Path, port: int = 0) -> Iterator[StandIn]:
    """Serve the data in a folder, which may have been served before, for the length of the block."""
    command = [sys.executable, "-m", __name__, str(folder), str(port)]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        told = process.stdout.readline()
        if not told.strip():
            raise RuntimeError(f"The stand-in for ClickHouse did not start: it ended with {process.wait(60)}.")
        yield StandIn(int(told), "default", process)
    finally:
        process.kill()
        process.communicate()


# --- the server -----------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection, whose settings come with each of them."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the second would wait for the first to be acknowledged
    disable_nagle_algorithm = True
    folder = ""
    session: Any = None
    applied: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        settings = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self._body()
        if self.headers.get("Authorization") != _AUTHORIZATION:
            for _ in body:
                pass
            self._answer(403, b"Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)", 516)
            return
        try:
            self._answer(200, self._run(settings, body))
        except RuntimeError as error:
            found = _CODE.search(str(error))
            self._answer(500, str(error).encode(), int(found[1]) if found else 1002)

    def finish(self) -> None:
        if self.session is not None:
            self.session.close()
        super().finish()

    def _run(self, settings: dict[str, str], body: Iterator[bytes]) -> bytes:
        session = self._session_with(settings)
        parameters = {name[6:]: value for name, value in settings.items() if name.startswith("param_")}
        if "query" in settings and settings["query"].startswith("INSERT"):
            return self._insert(session, settings["query"].encode(), b"", body)
        text = settings.get("query", "").encode() + b"".join(body)
        if found := _INSERT.match(text):
            return self._insert(session, found[0], text[found.end() :], body)
        query = text.decode()
        form = _FORMAT.search(query)
        answer = session.query(query[: form.start()] if form else query, form[1] if form else "TSV", params=parameters)
        return bytes(answer.bytes() or b"")

    def _session_with(self, settings: dict[str, str]) -> Any:
        """Return a session with just these settings: the one of the request before if that had the same."""
        from chdb.session import Session

        own = {name: value for name, value in settings.items() if name not in _NOT_SETTINGS and name[:6] != "param_"}
        wanted = {**own, "database": settings.get("database") or "default"}
        if self.session is None or wanted != self.applied:
            if self.session is not None:
                self.session.close()
            self.session, self.applied = Session(self.folder), wanted
            applied = {**_CHEAPER, **own}
            self.session.query("SET " + ", ".join(f"{name} = '{value}'" for name, value in applied.items()))
            self.session.query(f"USE `{wanted['database']}`")
        return self.session

    def _insert(self, session: Any, statement: bytes, first: bytes, rest: Iterator[bytes]) -> bytes:
        found = _INSERT.match(statement)
        assert found, statement
        sink = session.send_insert(found[1].decode(), found[2].decode())
        try:
            for piece in (first, *rest):
                if piece:
                    sink.append(piece)
        except OSError:
            sink.cancel()
            raise
        sink.finish()
        return b""

    def _body(self) -> Iterator[bytes]:
        """Yield the body; what ends before its end is an error."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            left = int(self.headers.get("Content-Length", 0))
            if left:
                yield self.rfile.read(left)
            return
        while True:
            line = self.rfile.readline().strip()
            if not line:
                raise ConnectionResetError("The body was cut off.")
            size = int(line, 16)
            piece = self.rfile.read(size)
            if len(piece) != size or self.rfile.readline() != b"\r\n":
                raise ConnectionResetError("The body was cut off.")
            if not size:
                return
            yield piece

    def _answer(self, status: int, content: bytes, code: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that are lost."""


def _serve(folder: str, port: int) -> None:
    from chdb.session import Session

    kept = Session(folder)  # as long as one is open, the engine is
    _Handler.folder = folder
    with _Server(("127.0.0.1", port), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            sys.stdin.buffer.read()  # until whoever started this is gone
        server.shutdown()
    kept.close()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
