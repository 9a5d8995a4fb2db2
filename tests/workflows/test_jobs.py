"""Jobs: one run for one state of all inputs, whatever the order of events."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.adapters.db.workflows import SqlRunRows
from cordillera.catalog.new_table import TableOptions
from cordillera.client import Lake
from cordillera.errors import (
    AlreadyExistsError,
    DatasetNotFoundError,
    IdempotencyKeyReusedError,
    InvalidExpressionError,
    InvalidInputError,
    InvalidSqlError,
    JobNotFoundError,
    MetadataStoreBusyError,
    NotAllowedError,
    StorageUnavailableError,
)
from cordillera.spec.as_of import AsOf
from cordillera.spec.completion_rule import CompletionRule
from cordillera.spec.job_trigger import JobTrigger, Restatements
from cordillera.spec.lineage import Node, NodeKind
from cordillera.spec.schema_evolution import AddColumn

DAY = "2026-01-01"
SQL = """
SELECT $partition::DATE AS day, sum(l.value)::BIGINT AS total
FROM a.left_side AS l JOIN a.right_side AS r USING (id)
WHERE l.day = $partition::DATE AND r.day = $partition::DATE
"""


@pytest.fixture
def jobs(lake: Lake) -> Lake:
    lake.create_namespace("a")
    schema = pa.schema([("id", pa.int64()), ("day", pa.date32()), ("value", pa.int64())])
    for name in ("left_side", "right_side"):
        lake.create_dataset(f"a.{name}", schema, key=["id"], completion_unit="day")
    totals = pa.schema([("day", pa.date32()), ("total", pa.int64())])
    lake.create_dataset("a.totals", totals, key=["day"], completion_unit="day")
    lake.create_job("a.totals", SQL, output_condition="day = $partition::DATE")
    return lake


def put(lake: Lake, side: str, value: int, day: str = DAY) -> None:
    rows = pa.table({"id": [1, 2], "day": pa.array([day, day]).cast(pa.date32()), "value": [value, value]})
    lake.dataset(f"a.{side}").write(rows, "upsert", completes=day)


def totals(lake: Lake) -> dict[str, int]:
    return {str(row["day"]): row["total"] for row in lake.dataset("a.totals").scan().to_arrow().to_pylist()}


def states(lake: Lake) -> list[str]:
    return sorted(str(run.state) for run in lake.backend.runs(job="a.totals"))


@pytest.mark.parametrize("order", list(itertools.permutations(["left_side", "right_side"])))
def test_a_run_starts_once_when_all_inputs_are_complete(jobs: Lake, order: tuple[str, str]) -> None:
    put(jobs, order[0], 1)
    jobs.run_pending()
    assert states(jobs) == []
    (waiting,) = jobs.backend.waiting("a.totals")
    assert waiting.missing == (f"a.{order[1]}",)
    put(jobs, order[1], 1)
    jobs.run_pending()
    jobs.run_pending()
    assert states(jobs) == ["succeeded"]
    assert totals(jobs) == {DAY: 2}
    completion = jobs.dataset("a.totals").completion(DAY)
    assert completion is not None
    assert completion.revision == 1
    assert jobs.backend.waiting("a.totals") == []


def test_a_restated_input_runs_it_again_once(jobs: Lake) -> None:
    put(jobs, "left_side", 1)
    put(jobs, "right_side", 1)
    jobs.run_pending()
    put(jobs, "left_side", 5)
    jobs.run_pending()
    assert states(jobs) == ["succeeded", "succeeded"]
    assert totals(jobs) == {DAY: 10}
    completion = jobs.dataset("a.totals").completion(DAY)
    assert completion is not None
    assert completion.revision == 2


def test_refreshes_before_a_worker_is_free_are_one_run_of_the_latest(jobs: Lake) -> None:
    put(jobs, "right_side", 1)
    for value in (1, 2, 3):
        put(jobs, "left_side", value)
    jobs.run_pending()
    assert totals(jobs) == {DAY: 6}
    assert states(jobs).count("succeeded") == 1


def test_inputs_are_read_as_of_their_completion(jobs: Lake) -> None:
    put(jobs, "left_side", 1)
    put(jobs, "right_side", 1)
    left = jobs.dataset("a.left_side")
    left.write(pa.table({"id": [1], "value": [1000]}), "partial_update")
    left.evolve(AddColumn("note", pa.string()))
    jobs.run_pending()
    assert totals(jobs) == {DAY: 2}


def test_other_partitions_stay(jobs: Lake) -> None:
    for day in (DAY, "2026-01-02"):
        put(jobs, "left_side", 1, day)
        put(jobs, "right_side", 1, day)
        jobs.run_pending()
    assert totals(jobs) == {DAY: 2, "2026-01-02": 2}
    assert jobs.backend.run_job("a.totals", DAY).input_revisions["manual"] == 1
    jobs.run_pending()
    assert states(jobs) == ["succeeded"] * 3


def test_a_failing_run_says_why_and_keeps_the_output(jobs: Lake) -> None:
    jobs.create_dataset("a.strict", {"day": pa.date32(), "total": pa.int64()}, key=["day"], completion_unit="day")
    bad = "SELECT $partition::DATE AS day, CASE WHEN id = 1 THEN error('too bad') ELSE 1 END AS total FROM a.left_side"
    jobs.create_job("a.strict", bad, output_condition="day = $partition::DATE")
    put(jobs, "left_side", 1)
    jobs.run_pending()
    (run,) = jobs.backend.runs(job="a.strict")
    assert run.state == "failed"
    assert "too bad" in run.error
    assert jobs.dataset("a.strict").details().version.sequence_number == 0
    assert jobs.backend.tasks() == []


def test_rows_outside_the_partition_are_refused(jobs: Lake) -> None:
    jobs.create_dataset("a.wrong", {"day": pa.date32(), "n": pa.int64()}, key=["day"], completion_unit="day")
    wrong = "SELECT DATE '1999-01-01' AS day, count(*) AS n FROM a.left_side"
    jobs.create_job("a.wrong", wrong, output_condition="day = $partition::DATE")
    put(jobs, "left_side", 1)
    jobs.run_pending()
    (run,) = jobs.backend.runs(job="a.wrong")
    assert run.state == "failed"
    assert "do not satisfy" in run.error


def test_disabled_jobs_wait(jobs: Lake) -> None:
    jobs.backend.set_job_enabled("a.totals", False)
    put(jobs, "left_side", 1)
    put(jobs, "right_side", 1)
    jobs.run_pending()
    assert states(jobs) == []
    jobs.backend.set_job_enabled("a.totals", True)
    jobs.backend.run_job("a.totals", DAY)
    jobs.run_pending()
    assert totals(jobs) == {DAY: 2}


def test_a_run_asked_for_twice_under_one_key_is_one(jobs: Lake) -> None:
    for day in (DAY, "2026-01-02"):
        put(jobs, "left_side", 1, day)
        put(jobs, "right_side", 1, day)
    jobs.run_pending()
    first = jobs.backend.run_job("a.totals", DAY, idempotency_key="retry 1")
    jobs.run_pending()
    again = jobs.backend.run_job("a.totals", DAY, idempotency_key="retry 1")
    assert (again.id, again.state) == (first.id, "succeeded")
    assert jobs.backend.run_job("a.totals", DAY, idempotency_key="retry 2").id != first.id
    with pytest.raises(IdempotencyKeyReusedError, match=f"for {DAY}"):
        jobs.backend.run_job("a.totals", "2026-01-02", idempotency_key="retry 1")
    jobs.run_pending()
    assert states(jobs) == ["succeeded"] * 4
    assert [one.action for one in jobs.backend.audit(object_name="a.totals")].count("job.run") == 2


def test_two_who_ask_for_a_run_at_the_same_moment_get_one(jobs: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in ("left_side", "right_side"):
        put(jobs, side, 1)
    jobs.backend.run_job("a.totals", DAY)
    monkeypatch.setattr(SqlRunRows, "page", lambda *_, **__: [])  # what the slower one sees of the faster
    with pytest.raises(MetadataStoreBusyError, match=f"run of a.totals for {DAY} at the same moment"):
        jobs.backend.run_job("a.totals", DAY)


def test_a_run_asked_for_too_early_is_refused(jobs: Lake) -> None:
    put(jobs, "left_side", 1)
    with pytest.raises(NotAllowedError, match=r"a\.right_side"):
        jobs.backend.run_job("a.totals", DAY)


def test_lineage_shows_the_columns(jobs: Lake) -> None:
    graph = jobs.dataset("a.totals").lineage()
    job = Node(NodeKind.JOB, "a.totals")
    sources = {edge.source.name: dict(edge.columns) for edge in graph.edges if edge.sink == job}
    assert sources == {"a.left_side": {"total": ("value",)}, "a.right_side": {}}
    reached = jobs.dataset("a.left_side").lineage(upstream=0).nodes()
    assert [str(node) for node in reached] == ["dataset:a.left_side", "job:a.totals", "dataset:a.totals"]


@pytest.mark.parametrize(
    ("sql", "condition", "output", "error"),
    [
        ("SELECT 1", "true", "a.totals", InvalidSqlError),
        ("SELECT zz FROM a.left_side", "true", "a.totals", InvalidSqlError),
        ("DELETE FROM a.left_side", "true", "a.totals", InvalidSqlError),
        ("SELECT * FROM a.nowhere", "true", "a.totals", DatasetNotFoundError),
        ("SELECT * FROM a.left_side", "true", "a.nowhere", DatasetNotFoundError),
        ("SELECT * FROM a.left_side", "day =", "a.totals", InvalidSqlError),
        ("SELECT * FROM a.left_side", "count(*) > 1", "a.totals", InvalidExpressionError),
        ("SELECT * FROM a.left_side WHERE day = $other", "true", "a.totals", InvalidSqlError),
        ("SELECT * FROM a.left_side", "true", "a.left_side", NotAllowedError),
    ],
)
def test_jobs_that_cannot_be_are_refused(
    jobs: Lake, sql: str, condition: str, output: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        jobs.create_job("a.other", sql, output_condition=condition, output=output)
    with pytest.raises(JobNotFoundError):
        jobs.backend.job("a.other")


def test_names_are_taken_once(jobs: Lake, tmp_path: Path) -> None:
    with pytest.raises(AlreadyExistsError):
        jobs.create_job("a.totals", SQL, output_condition="true")


def test_a_dataset_version_that_is_named_is_what_a_job_waits_for_and_reads(jobs: Lake) -> None:
    schema = jobs.dataset("a.left_side").schema
    jobs.backend.create_dataset_version("a.left_side", schema, TableOptions(key=("id",), completion_unit="day"))
    sql = """
    SELECT $partition::DATE AS day, (SELECT max(value) FROM a.left_side) AS old, max(value) AS new
    FROM a.left_side_v2 WHERE day = $partition::DATE
    """
    totals = pa.schema([("day", pa.date32()), ("old", pa.int64()), ("new", pa.int64())])
    jobs.create_dataset("a.versions", totals, key=["day"], completion_unit="day")
    made = jobs.create_job("a.versions", sql, output_condition="day = $partition::DATE")
    assert set(made.inputs) == {"a.left_side", "a.left_side_v2"}
    put(jobs, "left_side", 1)
    jobs.run_pending()
    (waiting,) = jobs.backend.waiting("a.versions")
    assert waiting.missing == ("a.left_side_v2",)
    put(jobs, "left_side_v2", 2)
    put(jobs, "left_side_v2", 3, "2026-01-02")
    jobs.dataset("a.left_side").write(pa.table({"id": [1], "value": [1000]}), "partial_update")
    jobs.run_pending()
    assert jobs.dataset("a.versions").scan().to_arrow().drop_columns(["day"]).to_pylist() == [{"old": 1, "new": 2}]
    sources = {
        edge.source.name for edge in jobs.dataset("a.versions").lineage().edges if edge.sink.kind is NodeKind.JOB
    }
    assert sources == {"a.left_side"}
    with pytest.raises(NotAllowedError, match="start itself"):
        jobs.create_job("a.other", "SELECT * FROM a.versions_v1", output_condition="true", output="a.versions")


def mapped(jobs: Lake, name: str, trigger: JobTrigger) -> None:
    """Make a job over both sides that keeps how often it has run."""
    jobs.create_dataset(f"a.{name}", {"day": pa.date32(), "total": pa.int64()}, key=["day"], completion_unit="day")
    sql = """
    SELECT $partition::DATE AS day, (SELECT sum(value) FROM a.left_side)::BIGINT + max(value) AS total FROM a.right_side
    """
    jobs.create_job(f"a.{name}", sql, output_condition="day = $partition::DATE", trigger=trigger)


def ran(jobs: Lake, name: str) -> list[str]:
    return sorted(run.partition for run in jobs.backend.runs(job=f"a.{name}", state="succeeded"))


def test_a_run_needs_the_partitions_that_its_inputs_are_mapped_to(jobs: Lake) -> None:
    mapped(jobs, "trailing", JobTrigger({"a.right_side": "trailing 2 days"}))
    put(jobs, "left_side", 1, "2026-01-02")
    put(jobs, "right_side", 5, "2026-01-02")
    jobs.run_pending()
    assert ran(jobs, "trailing") == []
    put(jobs, "right_side", 7, "2026-01-01")
    jobs.run_pending()
    (run,) = jobs.backend.runs(job="a.trailing")
    assert run.input_revisions == {"a.left_side": 1, "a.right_side 2026-01-01": 1, "a.right_side": 1}
    assert run.input_snapshots == {"a.left_side": 1, "a.right_side": 2}
    put(jobs, "right_side", 9, "2026-01-01")
    jobs.run_pending()
    assert ran(jobs, "trailing") == ["2026-01-02"] * 2


def test_a_standing_input_is_waited_for_once_and_starts_nothing_again(jobs: Lake) -> None:
    mapped(jobs, "standing", JobTrigger({"a.right_side": "latest"}))
    put(jobs, "left_side", 1, "2026-01-01")
    put(jobs, "left_side", 1, "2026-01-02")
    jobs.run_pending()
    assert ran(jobs, "standing") == []
    put(jobs, "right_side", 5, "2025-12-01")
    jobs.run_pending()
    assert ran(jobs, "standing") == ["2026-01-01", "2026-01-02"]
    put(jobs, "right_side", 6, "2025-12-02")
    jobs.run_pending()
    assert ran(jobs, "standing") == ["2026-01-01", "2026-01-02"]


def test_restatements_are_ignored_if_the_job_says_so(jobs: Lake) -> None:
    trigger = JobTrigger({"a.right_side": "1 day before"}, ("2026-01-02..",), Restatements.IGNORE)
    mapped(jobs, "once", trigger)
    for value in (1, 2, 3):
        put(jobs, "left_side", value, "2026-01-02")
        put(jobs, "left_side", value, "2026-01-01")
        put(jobs, "right_side", value, "2026-01-01")
        put(jobs, "right_side", value, "2025-12-31")
        jobs.run_pending()
    assert ran(jobs, "once") == ["2026-01-02"]
    assert jobs.dataset("a.once").scan().to_arrow().to_pylist()[0]["total"] == 3


def test_a_new_dataset_version_is_another_state_of_the_inputs(jobs: Lake) -> None:
    put(jobs, "left_side", 1)
    put(jobs, "right_side", 1)
    jobs.run_pending()
    schema = jobs.dataset("a.left_side").schema
    jobs.backend.create_dataset_version("a.left_side", schema, TableOptions(key=("id",), completion_unit="day"))
    jobs.backend.set_lifecycle("a.left_side_v2", "active")
    put(jobs, "left_side", 4)
    jobs.run_pending()
    assert totals(jobs) == {DAY: 8}


def test_a_run_that_is_tried_again_reads_what_it_read_at_first(jobs: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(jobs, "left_side", 1)
    put(jobs, "right_side", 1)
    service, query = jobs.backend.app.runs, jobs.backend.app.queries.query
    tried: list[Mapping[str, AsOf]] = []

    def restated_meanwhile(sql: str, moments: Mapping[str, AsOf], parameters: Mapping[str, object]) -> object:
        tried.append(moments)
        if len(tried) == 1:
            put(jobs, "left_side", 9)
            raise StorageUnavailableError("Away for a moment.")
        return query(sql, moments, parameters)

    monkeypatch.setattr(jobs.backend.app.queries, "query", restated_meanwhile)
    jobs.backend.app.operations.dispatch_events()
    with pytest.raises(StorageUnavailableError):
        service.execute("a.totals", DAY)
    assert service.execute("a.totals", DAY) is not None
    assert tried[0] == tried[1] == {"a.left_side": 1, "a.right_side": 1}
    assert totals(jobs) == {DAY: 2}
    jobs.run_pending()
    assert totals(jobs) == {DAY: 18}


def test_a_completion_of_another_unit_stops_nobody(jobs: Lake) -> None:
    mapped(jobs, "trailing", JobTrigger({"a.right_side": "trailing 2 days"}))
    jobs.dataset("a.totals").put_completion_rule(CompletionRule("day", upstream={"a.right_side": "trailing 2 days"}))
    schema = jobs.dataset("a.right_side").schema
    jobs.backend.create_dataset_version("a.right_side", schema, TableOptions(key=("id",), completion_unit="month"))
    jobs.dataset("a.right_side_v2").complete("2026-01")
    jobs.run_pending()
    assert jobs.backend.app.operations.dispatch_events() == 0
    jobs.backend.set_lifecycle("a.right_side_v2", "active")
    assert jobs.backend.waiting("a.trailing") == []
    with pytest.raises(InvalidInputError, match="cut by month"):
        jobs.backend.run_job("a.trailing", DAY)


def test_a_job_runs_on_the_workdays_of_its_output(jobs: Lake) -> None:
    trigger = JobTrigger({"a.left_side": "days since workday", "a.right_side": "1 workday before"})
    with pytest.raises(InvalidInputError, match="no calendar"):
        mapped(jobs, "bank", trigger)
    weekdays = CompletionRule("day", workdays=("mon", "tue", "wed", "thu", "fri"), holidays=("2026-01-05",))
    jobs.dataset("a.bank").put_completion_rule(weekdays)
    jobs.create_job("a.bank", SQL, output_condition="day = $partition::DATE", trigger=trigger)
    put(jobs, "right_side", 1, "2026-01-02")
    for day in range(3, 6):
        put(jobs, "left_side", 1, f"2026-01-{day:02}")
    jobs.run_pending()
    assert ran(jobs, "bank") == []
    assert [one.partition for one in jobs.backend.waiting("a.bank")] == ["2026-01-06"], "Monday is a holiday"
    put(jobs, "left_side", 1, "2026-01-06")
    jobs.run_pending()
    (run,) = jobs.backend.runs(job="a.bank")
    assert run.partition == "2026-01-06"
    assert sorted(run.input_revisions) == [
        "a.left_side",
        *(f"a.left_side 2026-01-0{day}" for day in (3, 4, 5)),
        "a.right_side 2026-01-02",
    ]
    for ask in (jobs.backend.run_job, jobs.backend.explain_job):
        with pytest.raises(NotAllowedError, match="not expected of"):
            ask("a.bank", "2026-01-05")


def test_a_standing_input_starts_nothing_for_what_has_become_a_holiday(jobs: Lake) -> None:
    mapped(jobs, "standing", JobTrigger({"a.right_side": "latest"}))
    for day in ("2026-01-01", "2026-01-02"):
        put(jobs, "left_side", 1, day)
    jobs.run_pending()
    jobs.dataset("a.standing").put_completion_rule(CompletionRule("day", holidays=("2026-01-01",)))
    put(jobs, "right_side", 5, "2025-12-01")
    jobs.run_pending()
    assert ran(jobs, "standing") == ["2026-01-02"]
