"""The audit log's chain, what tampering with it looks like, and its export."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from cordillera.app import Application, create_lake
from cordillera.client import Lake
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, InvalidInputError
from cordillera.operations import audit
from cordillera.spec.audit_chain import AuditVerification
from cordillera.spec.event import AuditEntry
from cordillera.worker import Worker
from tests.conftest import MovableClock


def app_of(lake: Lake) -> Application:
    return lake.backend.app


def some_work(lake: Lake, *names: str) -> None:
    for name in names:
        lake.create_namespace(name)


def restore(lake: Lake) -> None:
    tampered(lake, "DELETE FROM audit_entries")
    tampered(lake, "INSERT INTO audit_entries SELECT * FROM kept")


def tampered(lake: Lake, statement: str, rows: int = 1) -> None:
    engine = sa.create_engine(app_of(lake).settings.metadata_url.get_secret_value())
    with engine.begin() as connection:
        assert connection.execute(sa.text(statement)).rowcount >= rows or not rows
    engine.dispose()


@pytest.fixture
def chained(lake: Lake) -> list[AuditEntry]:
    """Return entries at places 1 to 5, oldest first."""
    some_work(lake, "a", "b", "c", "d", "e")
    assert lake.verify_audit().entries == 5
    return list(reversed(lake.backend.audit()))


def test_an_empty_log_is_whole(lake: Lake) -> None:
    assert lake.verify_audit() == AuditVerification(True, 0, "")


def test_entries_are_chained_behind_commits(lake: Lake) -> None:
    some_work(lake, "a", "b")
    assert [(entry.position, entry.hash) for entry in lake.backend.audit()] == [(None, "")] * 2
    worker = Worker(app_of(lake))
    worker._chain_due = 0
    worker.step()
    some_work(lake, "c")
    assert [entry.position for entry in lake.backend.audit()] == [None, 2, 1]
    found = lake.verify_audit()
    newest = lake.backend.audit()[0]
    assert (found.holds, found.entries, found.head) == (True, 3, f"3:{newest.hash}")
    assert len({entry.hash for entry in lake.backend.audit()}) == 3


CHANGES = (
    "principal = 'user:innocent'",
    "action = 'namespace.delete'",
    "object_kind = 'dataset'",
    "object_name = 'z'",
    "details = '{}'",
    "trace_id = 'x'",
    "at = '2020-01-01 00:00:00.000000'",
    "number = 4711",
    "hash = 'x'",
)


def test_a_changed_entry_is_named(lake: Lake, chained: list[AuditEntry]) -> None:
    tampered(lake, "CREATE TABLE kept AS SELECT * FROM audit_entries", rows=0)
    for change in CHANGES:
        tampered(lake, f"UPDATE audit_entries SET {change} WHERE position = 3")
        found = lake.verify_audit()
        number = 4711 if change.startswith("number") else chained[2].number
        assert (found.holds, found.entries, found.number) == (False, 2, number), change
        assert f"Entry {number}, at place 3, was changed" in found.problem
        assert found.head == f"2:{chained[1].hash}"
        restore(lake)
    assert lake.verify_audit().holds


def test_a_removed_entry_is_missed(lake: Lake, chained: list[AuditEntry]) -> None:
    tampered(lake, "CREATE TABLE kept AS SELECT * FROM audit_entries", rows=0)
    for place in (1, 3, 4):
        tampered(lake, f"DELETE FROM audit_entries WHERE position = {place}")
        found = lake.verify_audit()
        behind = f"behind entry {chained[place - 2].number}" if place > 1 else "at the beginning"
        assert (found.holds, found.number) == (False, None)
        assert found.problem == f"The entry at place {place}, {behind}, was removed."
        restore(lake)
    assert lake.verify_audit().holds


def test_a_removed_entry_is_not_replaced(lake: Lake, chained: list[AuditEntry]) -> None:
    tampered(lake, "DELETE FROM audit_entries WHERE position = 3")
    tampered(lake, "UPDATE audit_entries SET position = position - 1 WHERE position > 3")
    found = lake.verify_audit()
    assert "at place 3, was changed" in found.problem
    assert found.number == chained[3].number


def test_entries_that_change_places_are_noticed(lake: Lake, chained: list[AuditEntry]) -> None:
    tampered(lake, "UPDATE audit_entries SET position = -1 WHERE position = 2")
    tampered(lake, "UPDATE audit_entries SET position = 2 WHERE position = 3")
    tampered(lake, "UPDATE audit_entries SET position = 3 WHERE position = -1")
    assert "at place 2, was changed" in lake.verify_audit().problem


INSERTED = (
    "INSERT INTO audit_entries (number, at, principal, action, object_kind, object_name, details, trace_id, hash) "
    "SELECT {number}, {at}, principal, action, object_kind, object_name, details, trace_id, '' "
    "FROM audit_entries WHERE position = 1"
)


def test_an_entry_put_in_afterwards_is_named(timed_lake: Lake, clock: MovableClock) -> None:
    lake = timed_lake
    some_work(lake, "a")
    clock.advance(days=2)
    some_work(lake, "b")
    assert lake.verify_audit().holds
    tampered(lake, INSERTED.format(number=9000, at="at"))
    found = lake.verify_audit()
    assert (found.holds, found.number) == (False, 9000)
    assert "was put in afterwards" in found.problem
    assert not lake.verify_audit().holds, "it stays to be seen"


def test_a_head_kept_elsewhere_proves_what_was(lake: Lake, chained: list[AuditEntry]) -> None:
    head = lake.verify_audit().head
    some_work(lake, "f")
    assert lake.verify_audit(head).holds
    tampered(lake, "DELETE FROM audit_entries WHERE position >= 4")
    assert lake.verify_audit().holds, "of a cut end nothing is left to tell"
    found = lake.verify_audit(head)
    assert not found.holds
    assert "place 5" in found.problem
    some_work(lake, "g", "h", "i")
    assert "made anew" in lake.verify_audit(head).problem


@pytest.mark.parametrize("head", ["x", "0:" + "0" * 64, "1:ABC", f"1:{'g' * 64}", "9" * 30 + ":" + "0" * 64])
def test_a_head_has_a_form(lake: Lake, head: str) -> None:
    with pytest.raises(InvalidInputError, match="POSITION:HASH"):
        lake.verify_audit(head)


def test_the_newest_entries_can_be_looked_at_alone(lake: Lake, chained: list[AuditEntry]) -> None:
    tampered(lake, "UPDATE audit_entries SET principal = 'x' WHERE position = 2")
    backend = lake.backend
    assert backend.verify_audit(newest=2) == AuditVerification(True, 2, f"5:{chained[4].hash}")
    assert not backend.verify_audit(newest=4).holds
    assert backend.verify_audit(newest=100).entries == 1
    some_work(lake, "f")
    assert backend.verify_audit(newest=2).head == f"5:{chained[4].hash}", "nothing was taken in"


def test_only_administrators_look(lake: Lake) -> None:
    for call in (lake.verify_audit, lake.export_audit, lambda: lake.backend.verify_audit(newest=1)):
        with acting("user:nobody"), pytest.raises(AccessDeniedError):
            call()


def test_several_may_chain_at_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_CHAINED_AT_ONCE", 7)
    some_work(lake, *(f"n{number:03}" for number in range(60)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: lake.verify_audit(), range(4)))
    assert all(one.holds for one in found)
    assert lake.verify_audit().entries == 60


# --- exports --------------------------------------------------------------------------------------------------------


def exported(lake: Lake, name: str = "system.audit") -> list[dict[str, object]]:
    return lake.sql(f"SELECT * FROM {name} ORDER BY position").read_all().to_pylist()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_READ_AT_ONCE", 2)
    monkeypatch.setattr(audit, "_EXPORTED_AT_ONCE", 3)


def test_an_export_brings_what_is_new(lake: Lake, small: None) -> None:
    some_work(lake, "a", "b", "c", "d", "e")
    done = lake.export_audit()
    assert (done.dataset, done.entries) == ("system.audit", 5)
    rows = exported(lake)
    entries = list(reversed(lake.backend.audit()))[:5]
    assert [(row["position"], row["number"], row["hash"], row["object_name"], row["at"]) for row in rows] == [
        (entry.position, entry.number, entry.hash, entry.object_name, entry.at) for entry in entries
    ]
    assert rows[0]["details"].startswith('{"owner": ')
    again = lake.export_audit()
    assert again.entries == len(exported(lake)) - 5, "what the first left in the log: making the dataset, two commits"
    assert [row["position"] for row in exported(lake)] == list(range(1, again.entries + 6))


def test_an_export_that_broke_off_or_runs_twice_is_repeated(
    lake: Lake, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_work(lake, *"abcdef")
    service = app_of(lake).audit
    write: Callable[..., object] = service._writes.write
    calls = []

    def broken(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(*given)

    with monkeypatch.context() as patched:
        patched.setattr(service._writes, "write", broken)
        with pytest.raises(KeyboardInterrupt):
            lake.export_audit()
    assert [row["position"] for row in exported(lake)] == [1, 2, 3]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: lake.export_audit(), range(3)))
    positions = [row["position"] for row in exported(lake)]
    assert positions == list(range(1, len(positions) + 1))
    assert len(positions) >= 6


def test_workers_export_where_that_is_set(tmp_path: Path) -> None:
    with create_lake(tmp_path / "lake", audit_dataset="kept.log") as app:
        worker = Worker(app)
        app.namespaces.create("a")
        worker._purge_due = 0
        worker.step()
        assert app.catalog.snapshots("kept.log")[0].rows == 1
