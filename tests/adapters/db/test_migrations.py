from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cordillera.adapters.db import migration, open_metadata_store
from cordillera.adapters.db.catalog import DATASET
from cordillera.adapters.db.contract_proposals import PROPOSAL
from cordillera.adapters.db.contracts import CONTRACT
from cordillera.adapters.db.dataset_versions import VERSION
from cordillera.adapters.db.engine import open_database
from cordillera.adapters.db.schema import (
    contract_proposals,
    contracts,
    dataset_versions,
    datasets,
    enclosing_namespaces,
    metadata,
    namespaces,
    policy_tags,
)
from cordillera.adapters.db.session import open_session
from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.adapters.db.tag_sets import tag_set_of
from cordillera.errors import AlreadyExistsError, CordilleraError, InvalidConfigurationError, SchemaTooNewError
from cordillera.ports.metadata.contracts import ContractDocument
from cordillera.spec.access import Privilege, SecurableKind
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.contract_proposal import ContractProposal, ProposalState
from cordillera.spec.destination import DestinationKind
from cordillera.spec.lake_key import KeyPurpose
from cordillera.spec.names import enclosing_names
from cordillera.testing.metadata_samples import NOW, dataset, dataset_version, view
from tests.adapters.db.tagged import stored_tags

pytestmark = pytest.mark.usefixtures("all_migrations")
_FTS = "search_words"


def _run(url: str, statement: str) -> list[Any]:
    database = open_database(url)
    try:
        with database.writer.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []
    finally:
        database.close()


def _set_revision(url: str, revision: str) -> None:
    _run(url, f"UPDATE alembic_version SET version_num = '{revision}'")


def _migrate_to(url: str, revision: str) -> None:
    database = open_database(url)
    with open_session(database, database.writer) as session:
        config = migration._config()
        config.attributes["connection"] = session.connection
        command.upgrade(config, revision)
    database.close()


def test_the_revisions_are_those_of_the_migrations(url: str) -> None:
    scripts = ScriptDirectory.from_config(migration._config())
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(migration.REVISIONS))
    assert scripts.get_current_head() == migration.REVISIONS[-1]
    database = open_database(url)
    with database.reader.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == migration.REVISIONS[-1]
    database.close()


def test_the_migrations_make_the_schema(url: str) -> None:
    database = open_database(url)

    def included(name: str | None, kind: str, parents: dict[str, str | None]) -> bool:
        return database.file is None or not (name or "").startswith(_FTS)

    def compared(item: Any, name: str, kind: str, reflected: bool, other: Any) -> bool:
        return included(name if kind == "table" else item.table.name, kind, {})

    with database.reader.connect() as connection:
        options = {"include_name": included, "include_object": compared, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    database.close()


@pytest.mark.parametrize(
    "question",
    [
        # Alembic does not compare what follows.
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
        " AND contype <> 'n' ORDER BY 1",
        "SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
    ],
)
def test_postgres_gets_the_same_indexes_constraints_and_collations(
    postgres_url: str, empty_postgres_url: str, question: str
) -> None:
    database = open_database(empty_postgres_url)
    with database.writer.begin() as connection:
        metadata.create_all(connection)
    database.close()
    migrated = [row for row in _run(postgres_url, question) if "alembic_version" not in str(row)]
    assert migrated == _run(empty_postgres_url, question)


def test_sqlite_gets_the_same_indexes_and_constraints(sqlite_url: str, empty_sqlite_url: str) -> None:
    tables = [table for table in metadata.sorted_tables if table.name != _FTS]
    database = open_database(empty_sqlite_url)
    with database.writer.begin() as connection:
        metadata.create_all(connection, tables=tables)
    database.close()
    question = "SELECT name, type FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1"
    indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1"
    own = [row for row in _run(sqlite_url, question) if not row[0].startswith((_FTS, "alembic_version"))]
    assert own == _run(empty_sqlite_url, question)
    assert _run(sqlite_url, indexes) == _run(empty_sqlite_url, indexes)
    for table in tables:
        keys = f"SELECT * FROM pragma_foreign_key_list('{table.name}') ORDER BY 3, 4"
        assert _run(sqlite_url, keys) == _run(empty_sqlite_url, keys)


def test_migrating_again_changes_nothing(empty_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    store = open_metadata_store(empty_url)
    store.migrate()
    store.check_schema()
    with store.write() as tx:
        tx.audit.append(at=NOW, principal="", action="", object_kind="", object_name="kept", details={}, trace_id="")
    store.migrate()
    store.check_schema()
    with store.read() as tx:
        assert [entry.object_name for entry in tx.audit.page(limit=9)] == ["kept"]
    store.close()
    assert capfd.readouterr() == ("", "")


def test_migrating_leaves_logging_alone(empty_sqlite_url: str) -> None:
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    store = open_metadata_store(empty_sqlite_url)
    store.migrate()
    store.close()
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)


def test_an_empty_database_is_due_for_migration(empty_url: str) -> None:
    store = open_metadata_store(empty_url)
    with pytest.raises(InvalidConfigurationError, match="is empty") as caught:
        store.check_schema()
    assert caught.value.hint == "Run cordillera migrate."
    with pytest.raises(InvalidConfigurationError, match="lacks tables") as caught, store.read() as tx:
        tx.lake.get()
    assert caught.value.hint == "Run cordillera migrate."
    store.close()


def test_checking_makes_no_file(empty_sqlite_url: str) -> None:
    store = open_metadata_store(empty_sqlite_url)
    with pytest.raises(InvalidConfigurationError):
        store.check_schema()
    store.close()
    assert not Path(empty_sqlite_url.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize("revision", migration.REVISIONS[:-1])
def test_an_older_database_is_brought_up_to_date(empty_url: str, revision: str) -> None:
    _migrate_to(empty_url, revision)
    store = open_metadata_store(empty_url)
    with pytest.raises(InvalidConfigurationError, match=f"at revision {revision}") as caught:
        store.check_schema()
    assert caught.value.hint == "Run cordillera migrate."
    store.migrate()
    store.check_schema()
    store.close()


@pytest.mark.parametrize("revision", ["0001", "0007", "0010"])
def test_datasets_of_an_older_database_keep_their_names(empty_url: str, revision: str) -> None:
    _migrate_to(empty_url, revision)
    made, gone = dataset(), dataset("sales.gone", deleted_at=NOW, purge_after=NOW)
    database = open_database(empty_url)
    with database.writer.begin() as connection:
        columns = {"id": made.id, "name": "sales", "owner": "", "description": "", "created_at": NOW}
        connection.execute(sa.insert(namespaces).values(columns).inline())
        for one in (made, gone):
            connection.execute(sa.insert(datasets).values({**DATASET.values(one), "full_name": one.full_name}))
    database.close()
    store = open_metadata_store(empty_url)
    store.migrate()
    with store.write() as tx:
        with pytest.raises(AlreadyExistsError, match=r"dataset sales\.orders"):
            tx.views.insert(view("sales.orders"))
        tx.views.insert(view("sales.gone"))
        with pytest.raises(AlreadyExistsError, match=r"view sales\.gone"):
            tx.datasets.update(replace(made, name="gone"))
        tx.datasets.update(replace(made, name="bought"))
        tx.views.insert(view("sales.orders"))
    store.close()


def test_who_had_a_token_administers_the_lake_from_then_on(empty_url: str) -> None:
    _migrate_to(empty_url, "0012")
    for number, principal in enumerate(("ana", "user:ana", "service:etl", "anything: goes")):
        identity = f"00000000-0000-4000-8000-00000000000{number}"
        _run(
            empty_url,
            "INSERT INTO tokens (id, name, principal, hash, created_at) VALUES "
            f"('{identity}', '{number}', '{principal}', '{number}', '2026-01-01 00:00:00+00:00')",
        )
    store = open_metadata_store(empty_url)
    store.migrate()
    with store.read() as tx:
        granted = tx.grants.page(limit=9)
        assert sorted(one.principal for one in granted) == ["service:etl", "user:ana", "user:anything: goes"]
        assert {(one.privilege, one.on, one.grant_option) for one in granted} == {("administer", "lake", False)}
        viewer = tx.grants.viewer("user:ana", NOW)
        assert viewer.on_lake == set(Privilege)
    store.close()


@pytest.mark.parametrize("revision", ["0010", "0033"])
def test_keys_of_an_older_database_go_on_signing(empty_url: str, revision: str) -> None:
    _migrate_to(empty_url, revision)
    for purpose in ("access-tokens", "hashes"):
        _run(
            empty_url,
            "INSERT INTO signing_keys (purpose, secret, created_at) VALUES "
            f"('{purpose}', 'of {purpose}', '2026-01-01 00:00:00.000000')",
        )
    store = open_metadata_store(empty_url)
    store.migrate()
    with store.write() as tx:
        for purpose in (KeyPurpose.ACCESS_TOKENS, KeyPurpose.HASHES):
            (key,) = tx.signing_keys.usable(purpose, NOW)
            made = (key.secret, key.created_at, key.retires_at)
            assert made == (f"of {purpose}", datetime(2026, 1, 1, tzinfo=UTC), None)
            assert not tx.signing_keys.insert(replace(key, id=uuid4()))
        assert tx.signing_keys.usable(KeyPurpose.SIGN_IN, NOW) == []
    store.close()


def _add_version(connection: sa.Connection) -> DatasetVersion:
    """Add a dataset version as databases had it before it told of its contract."""
    made = dataset()
    version = dataset_version(made.id)
    columns = {"id": made.id, "name": "sales", "owner": "", "description": "", "created_at": NOW}
    connection.execute(sa.insert(namespaces).values(columns).inline())
    connection.execute(sa.insert(datasets).values({**DATASET.values(made), "full_name": made.full_name}))
    stored = {name: value for name, value in VERSION.values(version).items() if name != "contract_revision"}
    connection.execute(sa.insert(dataset_versions).values(stored))
    return version


def test_open_proposals_of_an_older_database_are_found_by_those_they_wait_for(empty_url: str) -> None:
    _migrate_to(empty_url, "0033")
    asked = [{"consumer": "user:ana", "acknowledged_at": None}]
    asked += [{"consumer": "user:bob", "acknowledged_at": NOW.isoformat()}]
    database = open_database(empty_url)
    with database.writer.begin() as connection:
        version = _add_version(connection)
        proposal = ContractProposal(UUID(int=1), version.id, 1, "", "", "", NOW, None, None, ProposalState.OPEN, ())
        for number, state in enumerate(("open", "void")):
            row = {**PROPOSAL.values(proposal), "id": UUID(int=number), "state": state, "consumers": asked}
            connection.execute(sa.insert(contract_proposals).values(row))
    database.close()
    store = open_metadata_store(empty_url)
    store.migrate()
    store.close()
    assert [row[0] for row in _run(empty_url, "SELECT consumer FROM awaited_consumers")] == ["user:ana"]


def test_datasets_of_an_older_database_get_the_tags_that_count_for_them(empty_url: str) -> None:
    _migrate_to(empty_url, "0021")
    made = {name: dataset(name) for name in ("a.plain", "a.b.inside", "a.b.own", "c.none")}
    tagged = {"a": {"level": "high", "zone": "eu"}, "a.b": {"level": 'it\'s "é"'}, "a.b.own": {"level": "low"}}
    database = open_database(empty_url)
    with database.writer.begin() as connection:
        ids = {name: one.id for name, one in made.items()}
        for name in ("a", "a.b", "c"):
            ids[name] = uuid4()
            space = {"id": ids[name], "name": name, "owner": "", "description": "", "created_at": NOW}
            connection.execute(sa.insert(namespaces).values(space).inline())
            for distance, outer in enumerate((*enclosing_names(name), "")):
                around = {"namespace": name, "distance": distance, "outer": outer}
                connection.execute(sa.insert(enclosing_namespaces).values(around))
        for name, one in made.items():
            connection.execute(sa.insert(datasets).values({**DATASET.values(one), "full_name": name}))
        for on, tags in tagged.items():
            kind = SecurableKind.DATASET if on in made else SecurableKind.NAMESPACE
            for name, value in tags.items():
                row = {"securable_id": ids[on], "kind": kind, "name": name, "value": value}
                row |= {"column_name": "", "set_by": "", "set_at": NOW}
                connection.execute(sa.insert(policy_tags).values(row).inline())
    database.close()
    store = SqlMetadataStore(empty_url)
    store.migrate()
    with store.write() as tx:
        assert stored_tags(tx, made.values()) == {
            "a.plain": {"level": "high", "zone": "eu"},
            "a.b.inside": {"level": 'it\'s "é"', "zone": "eu"},
            "a.b.own": {"level": "low", "zone": "eu"},
            "c.none": {},
        }
        for one in made.values():
            stands = tx.session.scalar(sa.select(datasets.c.tag_set).where(datasets.c.id == one.id))
            assert stands == tag_set_of(tx.session, one.id, one.namespace)
    store.close()


@pytest.mark.parametrize("revisions", [0, 2])
def test_dataset_versions_of_an_older_database_know_the_contract_in_force(empty_url: str, revisions: int) -> None:
    _migrate_to(empty_url, "0067")
    database = open_database(empty_url)
    with database.writer.begin() as connection:
        version = _add_version(connection)
        for number in range(revisions):
            document = ContractDocument(version.id, number + 1, "", "user:ana", NOW)
            connection.execute(sa.insert(contracts).values(CONTRACT.values(document)))
    database.close()
    store = open_metadata_store(empty_url)
    store.migrate()
    with store.read() as tx:
        assert tx.dataset_versions.get(version.id) == replace(version, contract_revision=revisions)
    store.close()


def test_webhooks_of_an_older_database_are_destinations_with_what_is_on_its_way(empty_url: str) -> None:
    _migrate_to(empty_url, "0055")
    one, task, event, next_event = uuid4(), uuid4(), uuid4(), uuid4()
    at, url = "2026-01-01 00:00:00", "https://hooks.example.com/a?b=c"
    payload = json.dumps({"webhook_id": str(one)})
    texts = """'', '["run.finished"]', '["sales"]', 'user:ana', 'user:ana'"""
    for statement in (
        "INSERT INTO webhooks (id, url, description, topics, within, owner, on_behalf_of, created_at, secret_number, "
        f"last_error) VALUES ('{one.hex}', '{url}', {texts}, '{at}', 3, '')",
        f"INSERT INTO webhook_scopes (scope, webhook_id) VALUES ('sales', '{one.hex}')",
        "INSERT INTO webhook_deliveries (number, id, webhook_id, stream, event_number, topic, dataset, state, "
        "attempts, created_at, due_at, trace_id, error, seconds) "
        f"VALUES (7, '{event.hex}', '{one.hex}', 's', 1, "
        f"'run.finished', 'sales.a', 'waiting', 2, '{at}', '{at}', '', 'no', 0.1)",
        "INSERT INTO tasks (id, kind, key, payload, state, attempts, due_at, leased_by, fencing_token, last_error, "
        f"trace_id, created_at) VALUES ('{task.hex}', 'webhook_later', 'k', '{payload}', 'queued', 0, "
        f"'{at}', '', 0, '', '', '{at}')",
    ):
        _run(empty_url, statement)
    store = open_metadata_store(empty_url)
    store.migrate()
    with store.write() as tx:
        found = tx.destinations.get(one)
        assert found is not None
        assert (found.kind, found.config, found.secret_number) == (DestinationKind.WEBHOOK, {"url": url}, 3)
        assert (found.topics, found.within) == (("run.finished",), ("sales",))
        (head,) = tx.event_deliveries.heads(one, 9)
        assert (head.id, head.attempts) == (event, 2)
        tx.event_deliveries.insert([replace(head, id=next_event)])
        tx.event_deliveries.update([replace(head, attempts=3), replace(head, id=next_event, error="no")])
        assert [(one.id, one.error) for one in tx.event_deliveries.following([event])] == [(next_event, "no")]
        assert [waiting.id for waiting in tx.event_deliveries.page(one, limit=9)] == [next_event, event]
    store.close()
    ((kind, stored),) = _run(empty_url, "SELECT kind, payload FROM tasks")
    told = stored if isinstance(stored, dict) else json.loads(stored)
    assert (kind, told) == ("destination_later", {"destination_id": str(one)})


def test_a_newer_database_is_refused(empty_url: str) -> None:
    store = open_metadata_store(empty_url)
    store.migrate()
    _set_revision(empty_url, "9999_from_the_future")
    for refuse in (store.migrate, store.check_schema):
        with pytest.raises(SchemaTooNewError, match=rf"9999_from_the_future.*{migration.REVISIONS[-1]}"):
            refuse()
    store.close()
    assert _run(empty_url, "SELECT version_num FROM alembic_version") == [("9999_from_the_future",)]


def test_a_migration_that_fails_leaves_nothing(empty_url: str) -> None:
    _run(empty_url, "CREATE TABLE runs (mine INTEGER)")  # in the way of the second migration
    store = open_metadata_store(empty_url)
    with pytest.raises(CordilleraError):
        store.migrate()
    database = open_database(empty_url)
    with database.reader.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["runs"]
    database.close()
    _run(empty_url, "DROP TABLE runs")
    store.migrate()
    store.check_schema()
    store.close()


def test_threads_that_start_at_once_migrate_once(empty_url: str) -> None:
    _at_once(lambda: _migrate(empty_url))
    _check(empty_url)


def test_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_migrate, args=(empty_url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 3
    _check(empty_url)


def _check(url: str) -> None:
    store = open_metadata_store(url)
    store.check_schema()
    store.close()
    assert _run(url, "SELECT version_num FROM alembic_version") == [(migration.REVISIONS[-1],)]


def _migrate(url: str) -> None:
    store = open_metadata_store(url)
    store.migrate()
    store.close()


def _at_once(action: Callable[[], None]) -> None:
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(action) for _ in range(4)]:
            done.result()
