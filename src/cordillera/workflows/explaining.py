"""Why a job has not started: each input with what is complete of it, what is not, and when that usually comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.errors import AccessDeniedError, InvalidInputError, NotAllowedError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.completion import CompletionUnit
from cordillera.spec.completion_rule import PartitionExplanation
from cordillera.spec.job_explanation import (
    HIDDEN_INPUT,
    InputExplanation,
    JobExplanation,
    JobStatus,
    MissingPartition,
    in_words,
    input_in_words,
    made_by,
    missing_partition,
)
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.partition_mapping import MappingKind
from cordillera.spec.readiness import InputState
from cordillera.spec.service_level import predict
from cordillera.spec.workflow import Job, Run
from cordillera.workflows.inputs import Inputs
from cordillera.workflows.service import WorkflowService

_HISTORY = 100
_MOST_REASONED = 5
_MOST_MAKERS = 3


class JobExplanationService:
    """Explains how jobs stand.

    Args:
        store: Keeps jobs and completions.
        lookup: Knows what whoever asks may know of.
        workflows: Shows jobs and runs.
        why: Explains how a partition of a dataset stands.
        clock: Time.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        workflows: WorkflowService,
        why: Callable[[str, str], PartitionExplanation],
        clock: Clock,
    ) -> None:
        self._store, self._lookup, self._workflows, self._why, self._clock = store, lookup, workflows, why, clock

    def explain(self, name: str, partition: str | None = None) -> JobExplanation:
        """Return how a job stands to a partition.

        Args:
            name: The job.
            partition: Its label; by default that of the latest partition that the job waits for.

        Raises:
            JobNotFoundError: If there is no such job, or none that whoever asks may see.
            InvalidPartitionError: If there is no such partition.
            NotAllowedError: If it does not concern the job, or none is given and the job waits for nothing.
        """
        job = self._workflows.job(name)
        with self._store.read() as tx:
            own = Inputs(tx)
            label = own.label_of(job, partition) if partition else _latest_waiting(own, job)
            states = own.states(job, [label])[label]
        newest = next(iter(self._workflows.runs(job=name, partition=label, limit=1)), None)
        inputs = tuple(self._input(state) for state in states)
        status = _status(job, newest, states)
        return JobExplanation(name, label, status, newest, inputs, in_words(status, newest, inputs))

    def _input(self, state: InputState) -> InputExplanation:
        now = self._clock.now()
        with self._store.read() as tx:
            try:
                target = self._lookup.resolve(tx, parse_dataset_ref(state.dataset), Privilege.DISCOVER)
            except (NotFoundError, AccessDeniedError):
                text = f"{HIDDEN_INPUT} is complete" if not state.missing else f"waiting for {HIDDEN_INPUT}"
                return InputExplanation("", "", "", not state.missing, None, (), text)
            missing = self._missing(tx, target, state, now)
        makers = self._makers(target)
        reasoned = [self._reasoned(target, one, makers, now) for one in missing[:_MOST_REASONED]]
        missing = reasoned + missing[_MOST_REASONED:]
        return InputExplanation(
            state.dataset,
            str(state.mapping),
            target.dataset.owner,
            not state.missing,
            state.snapshot,
            tuple(missing),
            input_in_words(state.dataset, state.snapshot, missing, now),
        )

    def _missing(
        self, tx: Transaction, target: ResolvedDataset, state: InputState, now: datetime
    ) -> list[MissingPartition]:
        if not state.missing:
            return []
        unit = CompletionUnit(target.version.completion_unit)
        history = tx.completions.page(target.version.id, None, _HISTORY)
        timely = state.mapping.kind is not MappingKind.LATEST
        return [
            missing_partition(label, predict(unit, history, label) if timely else None, now, ())
            for label in state.missing
        ]

    def _makers(self, target: ResolvedDataset) -> list[str]:
        """Return the names of jobs that write a dataset version, by its own name or, if it is active, the dataset's."""
        with self._store.read() as tx:
            found = tx.jobs.writing([target.dataset.full_name, target.pinned_name])
            return [job.name for job in found if self._writes(tx, job, target)][:_MOST_MAKERS]

    def _writes(self, tx: Transaction, job: Job, target: ResolvedDataset) -> bool:
        try:
            return self._lookup.resolve(tx, parse_dataset_ref(job.output)).version.id == target.version.id
        except (NotFoundError, AccessDeniedError):
            return False  # there is no active one

    def _reasoned(
        self, target: ResolvedDataset, one: MissingPartition, makers: Sequence[str], now: datetime
    ) -> MissingPartition:
        """Return what is waited for, with why it is not complete, and who makes it."""
        told = replace(one, made_by=tuple(self._made_by(makers, one.partition, now)))
        try:
            found = self._why(target.pinned_name, one.partition)
        except (NotFoundError, AccessDeniedError, InvalidInputError):
            return told  # it is another by now
        return replace(told, reasons=tuple(reason.text for reason in found.reasons))

    def _made_by(self, makers: Sequence[str], partition: str, now: datetime) -> Iterator[str]:
        for name in makers:
            try:
                newest = self._workflows.runs(job=name, partition=partition, limit=1)
            except NotFoundError:
                continue  # it is gone, or nothing that whoever asks may see
            yield made_by(name, next(iter(newest), None), now)


def _latest_waiting(inputs: Inputs, job: Job) -> str:
    labels = sorted(inputs.begun(job, _HISTORY), reverse=True)
    for label, states in inputs.states(job, labels[:_HISTORY]).items():
        if any(state.missing for state in states):
            return label
    raise NotAllowedError(
        f"{job.name} waits for nothing that has begun to be complete.",
        hint=f"Name a partition: cordillera job explain {job.name} --partition …",
    )


def _status(job: Job, run: Run | None, states: Sequence[InputState]) -> JobStatus:
    if any(state.missing for state in states):
        return JobStatus.WAITING
    if run is not None:
        return JobStatus.STARTED
    return JobStatus.READY if job.enabled else JobStatus.DISABLED
