"""Rows of jobs and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from cordillera.adapters.db.given import given
from cordillera.adapters.db.newest import Key, Newest
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import job_inputs, job_waits, jobs, lineage_edges, run_totals, runs
from cordillera.adapters.db.seen import Listed, few_jobs, of_each
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.visibility import jobs_seen
from cordillera.errors import AlreadyExistsError, JobNotFoundError
from cordillera.ports.metadata.workflows import Completed
from cordillera.spec.access import Viewer
from cordillera.spec.lineage import NodeKind
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.partition_mapping import SAME
from cordillera.spec.workflow import Job, Run, RunState

JOB = RowMap(Job, jobs)
RUN = RowMap(Run, runs, job=jobs.c.name)

_UNFINISHED = (RunState.QUEUED, RunState.RUNNING)
# The conditions of the partial indexes; SQLite uses an index only if its condition is there as it stands.
_IS_UNFINISHED = sa.text("runs.state IN ('queued', 'running')")
_NOT_SUCCEEDED = sa.text("runs.state <> 'succeeded'")


def _literal(state: RunState) -> sa.ColumnElement[RunState]:
    """Return a state spelled out in the statement, so that PostgreSQL can plan for it."""
    return sa.literal(state, runs.c.state.type, literal_execute=True)


_TIME = (runs.c.created_at, runs.c.id)
_BEGINNING = (datetime.min.replace(tzinfo=UTC), UUID(int=0))


OF_JOBS = Newest((runs.c.job_id,), _TIME, _BEGINNING, sa.true())
_SUCCEEDED_OF_JOBS = Newest((runs.c.job_id,), _TIME, _BEGINNING, runs.c.state == _literal(RunState.SUCCEEDED))
_OTHERS_OF_JOBS = Newest((runs.c.job_id, runs.c.state), _TIME, _BEGINNING, _NOT_SUCCEEDED)


def _locked(query: sa.Select[Any]) -> sa.Select[Any]:
    """Return a query that locks the jobs it finds: who decides about a job's runs sees all that was decided before."""
    return query.with_for_update(of=jobs, key_share=True)


# Asked for all events at once, and put together once.
_COMPLETED = (sa.Text(), sa.Text())


@lru_cache
def _concerned(is_postgres: bool) -> Prepared:
    """Return a query for the jobs that completions can start runs of; its parameter is ``complete``."""
    complete, one = given("complete", _COMPLETED, is_postgres=is_postgres).c, job_inputs.c
    query = (
        JOB.select()
        .add_columns(complete.one, complete.two)
        .join(job_inputs, one.job_id == jobs.c.id)
        .where(
            one.dataset == complete.one, one.partition.in_(["", complete.two]), sa.not_(one.standing), jobs.c.enabled
        )
    )
    return Prepared(_locked(query.order_by(jobs.c.name)))


@lru_cache
def _standing_by(is_postgres: bool) -> Prepared:
    """Return a query for the partitions of jobs that stand by for completions; its parameter is ``complete``."""
    complete, one = given("complete", _COMPLETED, is_postgres=is_postgres).c, job_waits.c
    query = (
        JOB.select()
        .add_columns(one.partition, complete.one, complete.two)
        .join(job_waits, one.job_id == jobs.c.id)
        .where(one.dataset == complete.one, one.needed.in_(["", complete.two]), jobs.c.enabled)
    )
    return Prepared(_locked(query.order_by(jobs.c.name, one.partition)))


_KEEP_JOB = sa.select(jobs.c.id).where(jobs.c.id == sa.bindparam("kept")).with_for_update(read=True, key_share=True)
_SUPERSEDE = (
    sa.update(runs)
    .where(
        runs.c.job_id == sa.bindparam("of_job"),
        runs.c.partition == sa.bindparam("of_partition"),
        runs.c.state == _literal(RunState.QUEUED),
        runs.c.id != sa.bindparam("keep"),
    )
    .values(state=RunState.SUPERSEDED, finished_at=sa.bindparam("now"))
)


class SqlJobRows:
    """See :class:`cordillera.ports.metadata.workflows.JobRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, job: Job) -> None:
        """Add a job."""
        if not self._session.insert_new(jobs, JOB.values(job)):
            raise AlreadyExistsError(
                f"The job {job.name} exists already.",
                hint="Choose another name, or delete it first: cordillera job delete.",
            )
        self._insert_inputs(job)

    def get(self, name: str, *, viewer: Viewer | None = None) -> Job | None:
        """Return a job by name, if a viewer may see it."""
        return JOB.one(self._session, JOB.select().where(jobs.c.name == name, *jobs_seen(viewer)))

    def get_by_id(self, job_id: UUID) -> Job | None:
        """Return a job by id."""
        return JOB.one(self._session, JOB.select().where(jobs.c.id == job_id))

    def page(self, after: str, limit: int, *, viewer: Viewer | None = None) -> list[Job]:
        """Return jobs by name behind ``after``, those that a viewer may see."""
        seen = jobs_seen(viewer)
        if viewer is not None and seen:
            listed = Listed(JOB, JOB.select(), (of_each(seen, jobs),), (jobs.c.name,), limit)
            return listed.first(self._session, (after,), partial(self._among_few, viewer))
        query = JOB.select().where(jobs.c.name > after)
        return JOB.all(self._session, query.order_by(jobs.c.name).limit(limit))

    def _among_few(self, viewer: Viewer, _after: Key, _limit: int, most: int) -> sa.Select[Any] | None:
        """Return a query for the jobs that those a viewer may see are among; None if those are many."""
        few = few_jobs(self._session, viewer, most)
        return None if few is None else JOB.select().where(jobs.c.name.in_(few))

    def concerned_by(self, completed: Sequence[Completed]) -> list[tuple[Job, Completed]]:
        """Return the enabled jobs that completions can start runs of, by name, locked for this transaction."""
        self._session.check_writable()
        rows = self._session.rows(_concerned(self._session.is_postgres), {"complete": completed})
        return [(JOB.load(job), (dataset, label)) for *job, dataset, label in rows]

    def standing_by(self, completed: Sequence[Completed]) -> list[tuple[Job, tuple[str, Completed]]]:
        """Return the partitions of enabled jobs that stand by for completions, the jobs locked likewise."""
        self._session.check_writable()
        rows = self._session.rows(_standing_by(self._session.is_postgres), {"complete": completed})
        return [(JOB.load(job), (partition, (dataset, label))) for *job, partition, dataset, label in rows]

    def stand_by(self, job_id: UUID, partition: str, needed: Mapping[str, str]) -> None:
        """Note the standing inputs, and only those, that a partition waits for."""
        one = job_waits.c
        self._session.write(sa.delete(job_waits).where(one.job_id == job_id, one.partition == partition))
        rows = [
            {"job_id": job_id, "partition": partition, "dataset": dataset, "needed": label}
            for dataset, label in sorted(needed.items())
        ]
        if rows:
            self._session.write(sa.insert(job_waits), rows)

    def writing(self, names: Sequence[str]) -> list[Job]:
        """Return the jobs, enabled or not, whose output has one of some names, by name."""
        return JOB.all(self._session, JOB.select().where(jobs.c.output.in_(names)).order_by(jobs.c.name))

    def naming(self, dataset: str, limit: int) -> list[str]:
        """Return the names of jobs that read or write a dataset: as an input, in their SQL, or as their output."""
        inputs = sa.select(job_inputs.c.job_id).where(job_inputs.c.dataset == dataset)
        edge = lineage_edges.c
        told = sa.select(edge.sink_name).where(
            edge.source_kind == NodeKind.DATASET, edge.source_name == dataset, edge.sink_kind == NodeKind.JOB
        )
        found: set[str] = set()
        for condition in (jobs.c.output == dataset, jobs.c.id.in_(inputs), jobs.c.name.in_(told)):
            query = sa.select(jobs.c.name).where(condition).limit(limit)
            found.update(row.name for row in self._session.read(query))
        return sorted(found)[:limit]

    def update(self, job: Job) -> None:
        """Store a job anew."""
        values = JOB.values(job)
        for fixed in ("id", "name", "created_at"):
            del values[fixed]
        if self._session.write(sa.update(jobs).where(jobs.c.id == job.id).values(values)):
            self._session.write(sa.delete(job_inputs).where(job_inputs.c.job_id == job.id))
            self._insert_inputs(job)

    def delete(self, name: str) -> None:
        """Remove a job and its runs."""
        self._session.check_writable()
        self._session.allow_long_statements()
        self._session.write(sa.delete(jobs).where(jobs.c.name == name))

    def _insert_inputs(self, job: Job) -> None:
        rows = [
            {"job_id": job.id, "dataset": dataset, "partition": partition, "standing": standing}
            for (dataset, partition), standing in sorted(_concerning(job).items())
        ]
        if rows:
            self._session.write(sa.insert(job_inputs), rows)


class SqlRunRows:
    """See :class:`cordillera.ports.metadata.workflows.RunRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, run: Run) -> bool:
        """Add a run.

        Raises:
            JobNotFoundError: If its job does not exist.
        """
        if not self._session.lock(_KEEP_JOB, {"kept": run.job_id}):
            raise JobNotFoundError(f"There is no job {run.job}.", hint="See: cordillera job list.")
        if not self._session.insert_new(runs, {**RUN.values(run), "input_state": _input_state(run.input_revisions)}):
            return False
        self._count(run.job_id, run.state, 1)
        return True

    def get(self, run_id: UUID, *, viewer: Viewer | None = None) -> Run | None:
        """Return a run by id, if a viewer may see its job."""
        return RUN.one(self._session, _select().where(runs.c.id == run_id, *jobs_seen(viewer)))

    def page(
        self,
        *,
        job: str | None = None,
        state: RunState | None = None,
        partition: str | None = None,
        before: UUID | None = None,
        limit: int,
        viewer: Viewer | None = None,
    ) -> list[Run]:
        """Return runs newest first, those of jobs that a viewer may see."""
        query, seen = _select(), jobs_seen(viewer)
        if job is not None:
            query = query.where(runs.c.job_id == sa.select(jobs.c.id).where(jobs.c.name == job).scalar_subquery())
        if state is not None:
            query = query.where(runs.c.state == _literal(state))
            if state is not RunState.SUCCEEDED:
                query = query.where(_NOT_SUCCEEDED)
        if partition is not None:
            query = query.where(runs.c.partition == partition)
        mark: Key | None = None
        if before is not None:
            found = self._session.read(sa.select(*_TIME).where(runs.c.id == before))
            if not found:
                return []
            mark = tuple(found[0])
        if viewer is not None and seen and job is None:
            listed = Listed(RUN, query, (of_each(seen, jobs),), _TIME, limit, descending=True)
            return listed.first(self._session, mark, partial(self._of_few, viewer, state, partition))
        if mark is not None:
            query = query.where(sa.tuple_(*_TIME) < mark)
        return RUN.all(self._session, query.where(*seen).order_by(*(one.desc() for one in _TIME)).limit(limit))

    def _of_few(
        self, viewer: Viewer, state: RunState | None, partition: str | None, before: Key, limit: int, most: int
    ) -> sa.Select[Any] | None:
        """Return a query for the first runs of jobs that a viewer may see; None if those are many."""
        few = few_jobs(self._session, viewer, most)
        if few is None:
            return None
        mine = sa.select(jobs.c.id).where(jobs.c.name.in_(few), of_each(jobs_seen(viewer), jobs))
        ids = [row.id for row in self._session.read(mine)]
        if partition is not None:
            found = self._of_partition(ids, state, partition, before, limit)
        elif state is None or state is RunState.SUCCEEDED:
            newest = OF_JOBS if state is None else _SUCCEEDED_OF_JOBS
            found = newest.rows(self._session, [[one.hex] for one in ids], before, limit)
        else:
            objects = [[one.hex, state.value] for one in ids]
            found = _OTHERS_OF_JOBS.rows(self._session, objects, before, limit)
        return _select().where(runs.c.id.in_(found))

    def _of_partition(
        self, job_ids: Sequence[UUID], state: RunState | None, partition: str, before: Key, limit: int
    ) -> list[UUID]:
        """Return the first runs of jobs for a partition, of which each has few: they are sorted once they are found."""
        query = sa.select(*_TIME).where(runs.c.job_id.in_(job_ids), runs.c.partition == partition)
        if state is not None:
            query = query.where(runs.c.state == state)
        mine = query.offset(0).subquery().c
        first = sa.select(mine.id).where(sa.tuple_(mine.created_at, mine.id) < before)
        ordered = first.order_by(mine.created_at.desc(), mine.id.desc()).limit(limit)
        return [row.id for row in self._session.read(ordered)]

    def update(self, run: Run) -> None:
        """Store a run's state, attempts, error, output, row count and times anew."""
        mine = runs.c.id == run.id
        old = self._session.lock(sa.select(runs.c.job_id, runs.c.state).where(mine).with_for_update())
        if old is None:
            return
        changed = sa.update(runs).where(mine)
        self._session.write(
            changed.values(
                state=run.state,
                attempts=run.attempts,
                error=run.error,
                error_code=run.error_code,
                output_sequence=run.output_sequence,
                rows_written=run.rows_written,
                started_at=run.started_at,
                finished_at=run.finished_at,
            )
        )
        if old.state is not run.state:
            self._count(old.job_id, old.state, -1)
            self._count(old.job_id, run.state, 1)

    def rebase(self, run: Run) -> bool:
        """Store the state of a run's inputs anew; False if another run of the partition has that state."""
        changed = sa.update(runs).where(runs.c.id == run.id)
        return self._session.update_unique(
            changed.values(
                input_revisions=run.input_revisions,
                input_snapshots=run.input_snapshots,
                input_state=_input_state(run.input_revisions),
            )
        )

    def supersede_queued(self, job_id: UUID, partition: str, keep: UUID, now: datetime) -> None:
        """Mark the queued runs of a partition superseded, except ``keep``."""
        given = {"of_job": job_id, "of_partition": partition, "keep": keep, "now": now}
        self._count(job_id, RunState.SUPERSEDED, self._session.write(_SUPERSEDE, given))

    def counts(self, *, viewer: Viewer | None = None) -> dict[tuple[str, RunState], int]:
        """Return how many runs each job has in each state: those not finished are counted, the others have been."""
        unfinished = (
            sa.select(runs.c.job_id, runs.c.state, sa.func.count().label("runs"))
            .where(_IS_UNFINISHED)
            .group_by(runs.c.job_id, runs.c.state)
        )
        finished = sa.select(run_totals.c.job_id, run_totals.c.state, run_totals.c.runs).where(run_totals.c.runs > 0)
        counted = sa.union_all(unfinished, finished).subquery()
        query = sa.select(jobs.c.name, counted.c.state, counted.c.runs).join(jobs, jobs.c.id == counted.c.job_id)
        query = query.where(*jobs_seen(viewer))
        return {(name, state): number for name, state, number in self._session.read(query)}

    def _count(self, job_id: UUID, state: RunState, more: int) -> None:
        if state in _UNFINISHED or not more:
            return
        insert = self._session.insert(run_totals)
        counted = insert.on_conflict_do_update(
            index_elements=["job_id", "state"], set_={"runs": run_totals.c.runs + insert.excluded.runs}
        )
        self._session.write(counted, {"job_id": job_id, "state": state, "runs": more})


def _select() -> sa.Select[Any]:
    return RUN.select().join(jobs, jobs.c.id == runs.c.job_id)


def _concerning(job: Job) -> dict[tuple[str, str], bool]:
    """Return the partitions of datasets that concern a job, an empty one for all, and whether they are standing."""
    found: dict[tuple[str, str], bool] = {}
    for name in job.inputs:
        mapping, dataset = job.trigger.mapping(name), parse_dataset_ref(name).full_name
        labels: Sequence[str] = (job.trigger.labels if mapping == SAME else ()) or (mapping.label,)
        for label in labels:
            found[dataset, label] = found.get((dataset, label), True) and mapping.standing
    return found


def _input_state(revisions: Mapping[str, int]) -> str:
    """Return a fingerprint of the state of a run's inputs."""
    return sha256(orjson.dumps(dict(revisions), option=orjson.OPT_SORT_KEYS)).hexdigest()
