"""What the workflows domain does when a partition becomes complete: it starts runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.ports.metadata.workflows import Completed
from cordillera.spec.calendar import EVERY_DAY
from cordillera.spec.event import Event
from cordillera.spec.job_trigger import Restatements
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.readiness import MANUAL, InputState, Verdict, input_revisions, verdict
from cordillera.spec.workflow import Job, Run, RunState
from cordillera.workflows.inputs import Inputs

RUN = "run"
T = TypeVar("T")


def on_partitions_completed(tx: Transaction, events: Sequence[Event], clock: Clock) -> None:
    """Start the runs for which all inputs are complete now.

    A run stands for one state of the inputs, told by the revisions of their completions: the same event twice, or
    the events of several inputs in any order, start one run; a restated input starts another. The completions of all
    events are there before the first is handled, so each partition of a job is looked at once for all of them.
    """
    caused: dict[Completed, list[Event]] = {}
    for event in events:
        caused.setdefault((event.dataset, str(event.payload["partition"])), []).append(event)
    looking = _Looking(tx, clock)
    for job, found in _by_job(tx.jobs.concerned_by(list(caused))):
        since = sorted((event for one in found for event in caused[one]), key=lambda event: event.number)
        looking.at(job, {label: event.trace_id for event in reversed(since) for label in looking.served(job, event)})
    # Only now, as some may stand by since just now for what became complete meanwhile.
    for job, waits in _by_job(tx.jobs.standing_by(list(caused))):
        looking.at(job, {label: caused[one][0].trace_id for label, one in waits if looking.expects(job, label)})


def _by_job(found: Iterable[tuple[Job, T]]) -> list[tuple[Job, list[T]]]:
    """Gather what was found of each job."""
    gathered: dict[UUID, tuple[Job, list[T]]] = {}
    for job, one in found:
        gathered.setdefault(job.id, (job, []))[1].append(one)
    return list(gathered.values())


class _Looking:
    """Looks at partitions of jobs that may have what they wait for."""

    def __init__(self, tx: Transaction, clock: Clock) -> None:
        self._tx, self._clock, self._inputs = tx, clock, Inputs(tx)

    def served(self, job: Job, event: Event) -> list[str]:
        """Return the partitions of a job that need what has become complete."""
        version_id, label = event.dataset_version_id, str(event.payload["partition"])
        calendar = self._inputs.calendar_of(version_id) if version_id else EVERY_DAY
        own = self._inputs.own_calendar(job)
        names = [name for name in job.inputs if parse_dataset_ref(name).full_name == event.dataset]
        found = {one for name in names for one in job.trigger.mapping(name).served(label, calendar, own)}
        return sorted(one for one in found if job.trigger.concerns(one) and own.includes(one))

    def expects(self, job: Job, partition: str) -> bool:
        """Tell whether a partition is one that is expected of a job."""
        return self._inputs.own_calendar(job).includes(partition)

    def at(self, job: Job, partitions: Mapping[str, str]) -> None:
        """Start a run for each of some partitions of a job that is due, and note those that wait for standing inputs.

        Args:
            job: The job.
            partitions: Each with the trace of what has it looked at.
        """
        tx, trigger = self._tx, job.trigger
        stands = any(trigger.mapping(name).standing for name in job.inputs)
        matters = trigger.restatements is Restatements.IGNORE
        for partition, states in self._inputs.states(job, sorted(partitions)).items():
            newest = tx.runs.page(job=job.name, partition=partition, limit=1) if matters else []
            found = verdict(states, partition, trigger.restatements, newest[0].state if newest else None)
            if found is Verdict.RUN:
                start_run(tx, job, partition, states, self._clock, trace_id=partitions[partition])
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
