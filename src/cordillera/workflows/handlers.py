"""What the workflows domain does when a partition becomes complete: it starts runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.calendar import EVERY_DAY
from cordillera.spec.event import Event
from cordillera.spec.job_trigger import Restatements
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.readiness import MANUAL, InputState, Verdict, input_revisions, verdict
from cordillera.spec.workflow import Job, Run, RunState
from cordillera.workflows.inputs import calendar_of, input_states, own_calendar

RUN = "run"


def on_partition_completed(tx: Transaction, event: Event, clock: Clock) -> None:
    """Start the runs for which all inputs are complete now.

    A run stands for one state of the inputs, told by the revisions of their completions: the same event twice, or
    the events of several inputs in any order, start one run; a restated input starts another.
    """
    label = str(event.payload["partition"])
    for job in tx.jobs.concerned_by(event.dataset, label):
        _look_at(tx, job, _served(tx, job, event, label), clock, event.trace_id)
    standing_by: dict[str, tuple[Job, list[str]]] = {}
    for job, partition in tx.jobs.standing_by(event.dataset, label):
        standing_by.setdefault(job.name, (job, []))[1].append(partition)
    for job, partitions in standing_by.values():
        own = own_calendar(tx, job)
        _look_at(tx, job, list(filter(own.includes, partitions)), clock, event.trace_id)


def _served(tx: Transaction, job: Job, event: Event, label: str) -> list[str]:
    """Return the partitions of a job that need what has become complete."""
    version = tx.dataset_versions.get(event.dataset_version_id) if event.dataset_version_id else None
    calendar = calendar_of(tx, version) if version else EVERY_DAY
    mappings = [job.trigger.mapping(name) for name in job.inputs if parse_dataset_ref(name).full_name == event.dataset]
    own = own_calendar(tx, job)
    found = {partition for mapping in mappings for partition in mapping.served(label, calendar, own)}
    return sorted(partition for partition in found if job.trigger.concerns(partition) and own.includes(partition))


def _look_at(tx: Transaction, job: Job, partitions: Sequence[str], clock: Clock, trace_id: str) -> None:
    """Start a run for each of some partitions of a job that is due, and note those that wait for standing inputs."""
    stands = any(job.trigger.mapping(name).standing for name in job.inputs)
    matters = job.trigger.restatements is Restatements.IGNORE
    for partition, states in input_states(tx, job, partitions).items():
        newest = tx.runs.page(job=job.name, partition=partition, limit=1) if matters else []
        found = verdict(states, partition, job.trigger.restatements, newest[0].state if newest else None)
        if found is Verdict.RUN:
            start_run(tx, job, partition, states, clock, trace_id=trace_id)
        if stands:
            tx.jobs.stand_by(job.id, partition, _lacking(states) if found is Verdict.STAND_BY else {})


def _lacking(states: Sequence[InputState]) -> Mapping[str, str]:
    """Return the standing inputs that are not complete, with the label that has to be; an empty one for any."""
    lacking = [state for state in states if state.missing]
    return {parse_dataset_ref(state.dataset).full_name: state.mapping.label for state in lacking}


def start_run(
    tx: Transaction,
    job: Job,
    partition: str,
    states: Sequence[InputState],
    clock: Clock,
    *,
    trace_id: str = "",
    asked_as: UUID | None = None,
) -> Run | None:
    """Add a run and the task that executes it; None if there is one of that id, or for this state of the inputs.

    Args:
        tx: The transaction.
        job: The job.
        partition: The partition.
        states: How the inputs stand, all of them complete.
        clock: Time and ids.
        trace_id: The trace of what caused it.
        asked_as: The id of a run that somebody asks for, whatever runs there are for this state of the inputs.
    """
    revisions = input_revisions(states, partition)
    if asked_as is not None:
        earlier = tx.runs.page(job=job.name, partition=partition, limit=1)
        revisions[MANUAL] = 1 + (earlier[0].input_revisions.get(MANUAL, 0) if earlier else 0)
    now = clock.now()
    run = Run(
        id=asked_as or clock.new_id(),
        job_id=job.id,
        job=job.name,
        partition=partition,
        input_revisions=revisions,
        state=RunState.QUEUED,
        attempts=0,
        error="",
        output_sequence=None,
        rows_written=0,
        created_at=now,
        started_at=None,
        finished_at=None,
        trace_id=trace_id or current().trace_id,
    )
    if not tx.runs.insert(run):
        return None
    tx.runs.supersede_queued(job.id, partition, run.id, now)
    payload = {"job": job.name, "partition": partition}
    tx.tasks.enqueue(clock.new_id(), RUN, f"{job.name}:{partition}", payload, now=now, trace_id=run.trace_id)
    return run
