"""Readiness: whether a job is to run for a partition, by how its inputs stand and what has been run.

A run stands for one state of the inputs, told by the revisions of the completions that it needs. The same state never
starts two runs, whatever the order of events, and however often they come. Inputs that are standing have to be there,
but are no part of that state: a new completion of one starts nothing for partitions that the job has run for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from cordillera.spec.completion import Completion
from cordillera.spec.job_trigger import Restatements
from cordillera.spec.partition_mapping import MappingKind, PartitionMapping
from cordillera.spec.workflow import Run, RunState

LATEST = "latest"
"""What an input lacks of which any partition would do."""

MANUAL = "manual"
"""Stands among the revisions of a run's inputs for how often somebody has asked for one."""


@dataclass(frozen=True, slots=True)
class InputState:
    """How an input of a job stands for one partition of the job.

    Attributes:
        dataset: The dataset, as the job names it.
        pinned: The dataset version that is meant, as it is told in the state of a run's inputs.
        mapping: Which partitions of it are needed.
        needed: Their labels; ``latest`` for whichever that is, and one empty label if the dataset is gone.
        found: Those that are complete.
    """

    dataset: str
    pinned: str
    mapping: PartitionMapping
    needed: tuple[str, ...]
    found: Mapping[str, Completion]

    @property
    def missing(self) -> tuple[str, ...]:
        """The labels of the partitions that are not complete."""
        return tuple(label for label in self.needed if label not in self.found)

    @property
    def snapshot(self) -> int | None:
        """The snapshot as of which all that is needed is complete; None if nothing is needed."""
        return max((completion.sequence_number for completion in self.found.values()), default=None)

    def names(self, partition: str) -> bool:
        """Tell whether a partition of the job is one that the input speaks of.

        The seven days before a Sunday are there if nobody works on Sundays, but nothing is made for a Sunday from them
        alone.
        """
        if self.mapping.kind is MappingKind.TRAILING:
            return partition in self.needed
        return not self.mapping.standing


class Verdict(StrEnum):
    """What is to become of a partition of a job."""

    RUN = "run"
    WAIT = "wait"
    """For inputs that are not complete, and that start runs when they are."""
    STAND_BY = "stand by"
    """For standing inputs only: whatever completes them has to find the partition again."""
    DONE = "done"
    """It has run, and is not to run again."""


def verdict(states: Sequence[InputState], partition: str, restatements: Restatements, last: RunState | None) -> Verdict:
    """Return what is to become of a partition.

    Args:
        states: How the inputs stand for it.
        partition: Its label.
        restatements: What a restated input does to a partition that the job has run for.
        last: The state of the newest run for it, if there is one.
    """
    lacking = [state for state in states if state.missing]
    if any(not state.mapping.standing for state in lacking) or not any(state.names(partition) for state in states):
        return Verdict.WAIT
    if lacking:
        return Verdict.STAND_BY
    if restatements is Restatements.IGNORE and last not in (None, RunState.FAILED):
        return Verdict.DONE
    return Verdict.RUN


def input_revisions(states: Sequence[InputState], partition: str) -> dict[str, int]:
    """Return the state of a run's inputs: what it needs of each that is not standing → the revision that is complete.

    The label of a partition is behind the dataset's name where it is not that of the run.
    """
    return {
        state.pinned if label == partition else f"{state.pinned} {label}": completion.revision
        for state in states
        if not state.mapping.standing
        for label, completion in state.found.items()
    }


def rebased(run: Run, states: Sequence[InputState]) -> Run:
    """Return a run that is about to begin, on its inputs as they stand then.

    Starts that somebody asked for are kept apart from others by their count.
    """
    asked = {MANUAL: run.input_revisions[MANUAL]} if MANUAL in run.input_revisions else {}
    revisions = input_revisions(states, run.partition) | asked
    snapshots = {state.dataset: state.snapshot for state in states if state.snapshot is not None}
    return replace(run, input_revisions=revisions, input_snapshots=snapshots)
