"""When maintenance is due, and how long it will take."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from cordillera.errors import InvalidInputError
from cordillera.spec.maintenance import (
    DEFAULT_BYTES_PER_SECOND,
    PREFIX,
    CompactionOptions,
    MaintenancePolicy,
    MaintenanceRun,
    MaintenanceTask,
    Strategy,
    TableCounters,
    compaction_due,
    expiry_due,
    policy_property,
    policy_value,
    predicted_seconds,
    statistics_due,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
POLICY = MaintenancePolicy()
MB = 1024 * 1024


def run(files_left: int = 0, size: int = 0, seconds: float = 1.0, at: datetime = NOW) -> MaintenanceRun:
    return MaintenanceRun(uuid4(), uuid4(), MaintenanceTask.COMPACT, at, seconds, 1, size, 1, files_left)


def test_small_files_make_compaction_due_but_not_those_that_cannot_be_merged() -> None:
    assert not compaction_due(POLICY, TableCounters(files=32, bytes=MB, records=9), None)
    assert "32 more data files" in compaction_due(POLICY, TableCounters(files=33, bytes=MB, records=9), None)
    assert not compaction_due(POLICY, TableCounters(files=60, bytes=MB, records=9), run(files_left=40))
    assert compaction_due(POLICY, TableCounters(files=72, bytes=MB, records=9), run(files_left=40))
    large = 100 * 128 * MB
    assert not compaction_due(POLICY, TableCounters(files=110, bytes=large, records=9), None)


def test_deletes_make_compaction_due() -> None:
    assert not compaction_due(POLICY, TableCounters(1, MB, 100_000, 19_999), None)
    assert compaction_due(POLICY, TableCounters(1, MB, 50_000, 10_000), None) == "20% of the stored rows are deleted"
    assert not compaction_due(POLICY, TableCounters(1, MB, 100, 20), None), "a reader would not notice them"
    assert not compaction_due(POLICY, TableCounters(), None)


def test_statistics_wait_until_a_tenth_has_changed_and_somebody_wants_them() -> None:
    wanted = MaintenancePolicy(refresh_statistics=True)
    assert not statistics_due(POLICY, TableCounters(records=100, uncounted=100))
    assert not statistics_due(wanted, TableCounters(records=100, uncounted=10))
    assert statistics_due(wanted, TableCounters(records=100, uncounted=11)).startswith("11 rows")
    assert not statistics_due(wanted, TableCounters())


def test_expiry_waits_until_several_snapshots_are_old() -> None:
    def due(days: float, last: MaintenanceRun | None = None, snapshots: int = 50) -> str:
        oldest = int((NOW - timedelta(days=days)).timestamp() * 1000)
        return expiry_due(POLICY, TableCounters(snapshots=snapshots, oldest_ms=oldest), last, NOW)

    assert not due(30)
    assert not due(32.9)
    assert due(33) == "the oldest of 50 snapshots is 33 days old"
    assert not due(33, snapshots=10)
    assert not due(40, run(at=NOW - timedelta(days=2)))
    assert due(40, run(at=NOW - timedelta(days=3)))
    never = MaintenancePolicy(expire_snapshots=False)
    assert not expiry_due(never, TableCounters(snapshots=50, oldest_ms=0), None, NOW)


def test_the_duration_follows_from_earlier_runs() -> None:
    assert predicted_seconds(MaintenanceTask.COMPACT, 0, []) == 0
    unknown = predicted_seconds(MaintenanceTask.COMPACT, int(DEFAULT_BYTES_PER_SECOND), [])
    assert unknown == pytest.approx(1.2)
    runs = [run(size=90 * MB, seconds=1.0), run(size=10 * MB, seconds=1.0), run(size=0, seconds=5.0)]
    assert predicted_seconds(MaintenanceTask.COMPACT, 500 * MB, runs) == pytest.approx(10.2)


def test_a_policy_is_read_from_properties() -> None:
    given_properties = {
        f"{PREFIX}enabled": "false",
        f"{PREFIX}small-files": "7",
        f"{PREFIX}delete-ratio": "0.5",
        f"{PREFIX}strategy": "z-order",
        f"{PREFIX}columns": "a, b",
        f"{PREFIX}expire-snapshots": "false",
        "history.expire.max-snapshot-age-ms": "86400000",
        "history.expire.min-snapshots-to-keep": "3",
        "write.target-file-size-bytes": "1000",
        "other": "x",
    }
    wanted = MaintenancePolicy(False, 7, 0.5, Strategy.Z_ORDER, ("a", "b"), False, timedelta(days=1), 3, 1000)
    assert MaintenancePolicy.of(given_properties) == wanted
    assert MaintenancePolicy.of({}) == POLICY
    again = {policy_property(name): policy_value(value) for name, value in asdict(wanted).items()}
    assert MaintenancePolicy.of({name: value for name, value in again.items() if value is not None}) == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("small-files", "1"),
        ("small-files", "many"),
        ("delete-ratio", "0"),
        ("delete-ratio", "nan"),
        ("enabled", "yes"),
        ("strategy", "best"),
        ("no-such", "1"),
    ],
)
def test_a_wrong_property_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        MaintenancePolicy.of({PREFIX + name: value})


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        policy_property("speed")
    assert "small-files" in caught.value.hint


def test_options_that_cannot_be_are_refused() -> None:
    CompactionOptions(Strategy.Z_ORDER, ("a", "b"), max_groups=1, max_bytes=1, target_file_size=1).check()
    for wrong in (
        CompactionOptions(Strategy.Z_ORDER, ("a",)),
        CompactionOptions(columns=("a",)),
        CompactionOptions(max_groups=0),
        CompactionOptions(delete_ratio=-0.1),
    ):
        with pytest.raises(InvalidInputError):
            wrong.check()
