"""What the workflows domain does when a partition becomes complete: it starts runs."""

from __future__ import annotations

from collections.abc import Mapping

from cordillera.catalog.lookup import meant_version
from cordillera.context import current
from cordillera.errors import NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.completion import Completion
from cordillera.spec.event import Event
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.workflow import Job, Run, RunState

RUN = "run"


def on_partition_completed(tx: Transaction, event: Event, clock: Clock) -> None:
    """Start a run of every job whose inputs are now all complete for the partition.

    A run stands for one state of the inputs, told by the revisions of their completions: the same event twice, or
    the events of several inputs in any order, start one run; a restated input starts another.
    """
    partition = str(event.payload["partition"])
    for job in tx.jobs.reading(event.dataset):
        completions, missing = input_completions(tx, job, partition)
        if not missing:
            start_run(tx, job, partition, completions, clock, trace_id=event.trace_id)


def input_completions(tx: Transaction, job: Job, partition: str) -> tuple[dict[str, Completion], list[str]]:
    """Return the newest completions of a job's inputs for a partition, and the inputs that lack one."""
    found: dict[str, Completion] = {}
    missing = []
    for dataset in job.inputs:
        ref = parse_dataset_ref(dataset)
        found_dataset = tx.datasets.get(ref.namespace, ref.name)
        if found_dataset is None:
            missing.append(dataset)
            continue
        try:
            version = meant_version(tx, found_dataset, ref.version)
        except NotFoundError:
            missing.append(dataset)
            continue
        completion = tx.completions.latest(version.id, partition)
        if completion is None:
            missing.append(dataset)
        else:
            found[dataset] = completion
    return found, missing


def start_run(
    tx: Transaction,
    job: Job,
    partition: str,
    completions: Mapping[str, Completion],
    clock: Clock,
    *,
    trace_id: str = "",
    again: bool = False,
) -> Run | None:
    """Add a run and the task that executes it; None if there is a run for this state of the inputs already.

    Args:
        tx: The transaction.
        job: The job.
        partition: The partition.
        completions: Of every input.
        clock: Time and ids.
        trace_id: The trace of what caused it.
        again: Start one in any case.
    """
    revisions = {dataset: completion.revision for dataset, completion in completions.items()}
    if again:
        earlier = tx.runs.page(job=job.name, partition=partition, limit=1)
        revisions["manual"] = 1 + (earlier[0].input_revisions.get("manual", 0) if earlier else 0)
    now = clock.now()
    run = Run(
        id=clock.new_id(),
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
