"""Every example of the documentation does what the page says."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import conninfo

from tests.adapters.synchronizers.snowflake_stand_in import Snowflake, start_stand_in
from tests.docs.conftest import Reader
from tests.docs.markdown import ROOT, pages
from tests.servers_glue import GlueEmulator
from tests.servers_s3 import S3Server

_WITH_SERVERS = {
    "docs/how-to/ask-for-access.md",
    "docs/how-to/read-from-aws.md",
    "docs/how-to/read-from-snowflake.md",
    "docs/how-to/replicate-to-another-lake.md",
    "docs/how-to/subscribe-postgresql.md",
    "docs/how-to/serve-a-lake.md",
    "docs/how-to/tell-kafka.md",
    "docs/how-to/use-other-engines.md",
    "docs/reference/http-api.md",
}
_ALONE = [page for page in pages() if page.relative_to(ROOT).as_posix() not in _WITH_SERVERS]


@pytest.mark.parametrize("page", _ALONE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_do_what_the_page_says(page: Path, reader: Callable[..., Reader]) -> None:
    reader(page).follow()


def test_examples_with_postgresql(reader: Callable[..., Reader], postgres_database: str) -> None:
    page = ROOT / "docs/how-to/subscribe-postgresql.md"
    reader(page, {"host=db.example.com dbname=bi user=lake": postgres_database}).follow()


def test_examples_with_kafka(reader: Callable[..., Reader], kafka_server: str) -> None:
    reader(ROOT / "docs/how-to/tell-kafka.md", {"kafka.example.com:9092": kafka_server}).follow()


def test_examples_with_servers(reader: Callable[..., Reader], postgres_database: str, s3_server: S3Server) -> None:
    parts = conninfo.conninfo_to_dict(postgres_database)
    replaced = {
        "8470": _free_port(),
        "postgresql://lake:secret@db.example.com/lake": f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}",
        "s3://company-lake/": f"s3://{s3_server.bucket}/",
        "https://s3.example.com": s3_server.endpoint,
        "the-access-key": s3_server.access_key,
        "the-secret-key": s3_server.secret_key,
    }
    reader(ROOT / "docs/how-to/serve-a-lake.md", replaced).follow()


def test_examples_with_glue(
    reader: Callable[..., Reader],
    glue_emulator: GlueEmulator,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = glue_emulator.new_database()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)  # the emulator takes any
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    glue = f'"glue.endpoint": "{glue_emulator.endpoint}", "s3.endpoint": "{s3_server.endpoint}"'
    settings = "region=eu-central-1"
    replaced = {
        "s3://company-lake/": f"s3://{s3_server.bucket}/",
        "https://s3.example.com": s3_server.endpoint,
        "the-access-key": s3_server.access_key,
        "the-secret-key": s3_server.secret_key,
        f"database=lake {settings}": f"database={database} {settings} endpoint={glue_emulator.endpoint}",
        "DATABASE 'lake'": f"DATABASE '{database}'",
        '"lake.orders"': f'"{database}.orders"',
        '"glue.region": "eu-central-1"': f'"glue.region": "eu-central-1", {glue}',
    }
    reader(ROOT / "docs/how-to/read-from-aws.md", replaced).follow()


def test_examples_with_snowflake(
    reader: Callable[..., Reader], s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"s3://{s3_server.bucket}/snow"
    with start_stand_in(Snowflake(root)) as snowflake:
        monkeypatch.setenv("SNOWFLAKE_KEY", snowflake.pem)
        settings = snowflake.settings
        replaced = {
            "s3://company-lake/snow": root,
            "https://s3.example.com": s3_server.endpoint,
            "the-access-key": s3_server.access_key,
            "the-secret-key": s3_server.secret_key,
            "account=company-analytics user=lake_loader": (
                f"account={settings['account']} user={settings['user']} endpoint={settings['endpoint']}"
            ),
        }
        reader(ROOT / "docs/how-to/read-from-snowflake.md", replaced).follow()
        assert [table.comment.partition("\n")[0] for table in snowflake.account.tables.values()] == ["Orders of today."]


@pytest.mark.parametrize(
    "page",
    [
        "docs/reference/http-api.md",
        "docs/how-to/use-other-engines.md",
        "docs/how-to/ask-for-access.md",
        "docs/how-to/replicate-to-another-lake.md",
    ],
)
def test_examples_with_a_server(page: str, reader: Callable[..., Reader]) -> None:
    reader(ROOT / page, {"8470": _free_port()}).follow()


def test_every_page_is_tested() -> None:
    assert {page.relative_to(ROOT).as_posix() for page in pages()} >= _WITH_SERVERS


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
