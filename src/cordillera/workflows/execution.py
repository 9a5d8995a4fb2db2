"""Executing runs: read the inputs as of their completions, compute, and replace the partition in the output."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cordillera.catalog.leases import fenced_write
from cordillera.catalog.queries import QueryService
from cordillera.catalog.service import CatalogService
from cordillera.catalog.trail import Trail
from cordillera.catalog.writes import WriteService
from cordillera.context import acting, current
from cordillera.errors import InvalidPartitionError, LeaseLostError, TerminalError, TransientError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.as_of import AsOf
from cordillera.spec.completion import CompletionUnit, partition_label
from cordillera.spec.event import Topic
from cordillera.spec.merge import Operation
from cordillera.spec.readiness import rebased
from cordillera.spec.workflow import Job, Run, RunState
from cordillera.workflows.inputs import Inputs
from cordillera.workflows.service import bind_condition

_MOST_UNFINISHED = 100


class RunService:
    """Executes runs.

    Args:
        store: Keeps runs.
        catalog: Resolves datasets.
        queries: Computes.
        writes: Writes the output.
        clock: Time.
    """

    def __init__(
        self,
        store: MetadataStore,
        catalog: CatalogService,
        queries: QueryService,
        writes: WriteService,
        clock: Clock,
    ) -> None:
        self._store, self._catalog = store, catalog
        self._queries, self._writes, self._clock = queries, writes, clock

    def execute(self, job_name: str, partition: str) -> Run | None:
        """Execute the newest unfinished run of a job for a partition; None if there is none.

        The output is committed under the run's id as idempotency key, and under the lease of the task: a run that is
        executed again after a crash changes nothing twice, and a worker that lost its lease changes nothing at all.

        Raises:
            TransientError: If a retry may help; the run stays unfinished.
        """
        begun = self._begin(job_name, partition)
        if begun is None:
            return None
        job, run = begun
        try:
            with acting(job.on_behalf_of or None):
                run = self._compute(job, run)
        except TransientError as error:
            if not isinstance(error, LeaseLostError):
                self._note(replace(run, error=str(error), error_code=error.code))
            raise
        except TerminalError as error:
            failed = replace(run, state=RunState.FAILED, error=str(error), error_code=error.code)
            return self._finish(failed, job)
        return self._finish(run, job)

    def _begin(self, job_name: str, partition: str) -> tuple[Job, Run] | None:
        """Return the run to execute, with what it reads: the first attempt tells, for all that follow.

        Inputs that were restated since the run was decided on are read as they are now; the events that tell of it find
        that the run stands for that state, and start no other.
        """
        now = self._clock.now()
        with fenced_write(self._store, now) as tx:
            job = tx.jobs.get(job_name)
            unfinished = [
                run
                for state in (RunState.QUEUED, RunState.RUNNING)
                for run in tx.runs.page(job=job_name, state=state, partition=partition, limit=_MOST_UNFINISHED)
            ]
            if job is None or not unfinished:
                return None
            run = max(unfinished, key=lambda one: one.created_at)
            for other in unfinished:
                if other is not run:  # whoever executed it has died, or this task were not there
                    tx.runs.update(replace(other, state=RunState.SUPERSEDED, finished_at=now))
            if run.state is RunState.QUEUED:
                states = Inputs(tx).states(job, [partition])[partition]
                if any(state.missing for state in states):
                    return None
                run = rebased(run, states)
                if not tx.runs.rebase(run):
                    tx.runs.update(replace(run, state=RunState.SUPERSEDED, finished_at=now))
                    return None
            run = replace(
                run, state=RunState.RUNNING, attempts=run.attempts + 1, error="", error_code="", started_at=now
            )
            tx.runs.update(run)
        return job, run

    def _compute(self, job: Job, run: Run) -> Run:
        moments: dict[str, AsOf] = dict(run.input_snapshots)
        rows = self._queries.query(job.sql, moments, {"partition": run.partition})
        result = self._writes.write(
            job.output,
            rows,
            Operation.REPLACE,
            where=bind_condition(job.output_condition, run.partition),
            idempotency_key=f"run:{run.id}",
            request_hash=str(run.id),
            completes=self._output_partition(job, run.partition),
        )
        return replace(
            run,
            state=RunState.SUCCEEDED,
            output_sequence=result.sequence_number if result.snapshot_committed else None,
            rows_written=result.rows_inserted,
        )

    def _output_partition(self, job: Job, partition: str) -> str | None:
        """Return the partition of the output that a run completes; None if the output is cut differently."""
        unit = CompletionUnit(self._catalog.dataset(job.output, Privilege.WRITE).version.completion_unit)
        try:
            return partition_label(unit, partition, job.output)
        except InvalidPartitionError:
            return None

    def _note(self, run: Run) -> None:
        with fenced_write(self._store, self._clock.now()) as tx:
            tx.runs.update(run)

    def _finish(self, run: Run, job: Job) -> Run:
        now: datetime = self._clock.now()
        finished = replace(run, finished_at=now)
        with fenced_write(self._store, now) as tx:
            tx.runs.update(finished)
            payload = {"run_id": str(run.id), "job": job.name, "partition": run.partition, "state": finished.state}
            trail = Trail(tx, now, replace(current(), trace_id=run.trace_id))
            trail.event(Topic.RUN_FINISHED, job.output, None, payload)
        return finished
