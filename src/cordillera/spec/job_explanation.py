"""Why a job has not started for a partition: what of its inputs is complete, what is not, and when it usually is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cordillera.spec.service_level import Prediction, length_in_words
from cordillera.spec.workflow import Run, RunState

HIDDEN_INPUT = "an input that you may not see"
_MOST_TOLD = 3
_SOON = 60
"""Seconds within which nothing is late."""


class JobStatus(StrEnum):
    """How a job stands to a partition."""

    WAITING = "waiting"
    READY = "ready"
    """Its inputs are complete, and no run has been made for them."""
    DISABLED = "disabled"
    """Likewise, but completions start no runs of the job."""
    STARTED = "started"
    """There is a run; its state tells more."""


@dataclass(frozen=True, slots=True)
class MissingPartition:
    """A partition of an input that is waited for.

    Attributes:
        usually_at: When it is usually complete, by when others were; None where too little is known.
        late_seconds: How long ago that was; 0 before.
        reasons: Why it is not complete, by the input's completion rule.
        made_by: Jobs that make it, and how their newest runs for it stand, in words.
    """

    partition: str
    usually_at: datetime | None
    late_seconds: int
    reasons: tuple[str, ...]
    made_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InputExplanation:
    """How an input stands.

    Attributes:
        dataset: Its name; empty, as all the rest, where whoever asks may not know of it.
        mapping: Which partitions of it are needed.
        owner: Of the dataset.
        complete: Whether all that is needed is.
        snapshot: The snapshot as of which it is complete, as far as it is.
        missing: What is waited for.
        text: All of it in words.
    """

    dataset: str
    mapping: str
    owner: str
    complete: bool
    snapshot: int | None
    missing: tuple[MissingPartition, ...]
    text: str


@dataclass(frozen=True, slots=True)
class JobExplanation:
    """How a job stands to a partition, and why.

    Attributes:
        run: The newest run for the partition.
        inputs: In the job's order.
        text: All of it in words.
    """

    job: str
    partition: str
    status: JobStatus
    run: Run | None
    inputs: tuple[InputExplanation, ...]
    text: str


def missing_partition(
    partition: str, prediction: Prediction | None, now: datetime, reasons: Sequence[str]
) -> MissingPartition:
    """Return what is waited for, with how late it is."""
    late = max(0, int((now - prediction.at).total_seconds())) if prediction else 0
    return MissingPartition(partition, prediction.at if prediction else None, late, tuple(reasons))


def made_by(job: str, run: Run | None, now: datetime) -> str:
    """Return who makes a partition: ``made by a.daily, which failed at 06:12 UTC``.

    Args:
        job: The job.
        run: Its newest run for the partition, if there is one.
        now: The present.
    """
    if run is None:
        return f"made by {job}, which has not run for it"
    at = _moment(run.finished_at or run.started_at or run.created_at, now)
    did = {
        RunState.QUEUED: f"is queued since {at}",
        RunState.RUNNING: f"runs since {at}",
        RunState.SUCCEEDED: f"succeeded at {at}",
        RunState.FAILED: f"failed at {at}",
        RunState.SUPERSEDED: f"was superseded at {at}",
    }
    return f"made by {job}, which {did[run.state]}"


def input_in_words(dataset: str, snapshot: int | None, missing: Sequence[MissingPartition], now: datetime) -> str:
    """Return how an input stands: ``waiting for a.weather 2013-02-09, usually 06:10 UTC, 40 min late``."""
    if not missing:
        return f"{dataset} is complete" + (f" as of snapshot {snapshot}" if snapshot is not None else "")
    told = [_in_words(dataset, one, now) for one in missing[:_MOST_TOLD]]
    more = [f"{len(missing) - _MOST_TOLD} more of {dataset}"] if len(missing) > _MOST_TOLD else []
    return f"waiting for {'; '.join([*told, *more])}"


def in_words(status: JobStatus, run: Run | None, inputs: Sequence[InputExplanation]) -> str:
    """Return how a job stands to a partition as a sentence."""
    match status:
        case JobStatus.STARTED:
            assert run is not None, "a job has started where there is a run"
            return f"The newest run is {run.state}." + (f" {run.error}" if run.error else "")
        case JobStatus.READY:
            return "All inputs are complete, but no run was made: no worker was there, or the job was not."
        case JobStatus.DISABLED:
            return "All inputs are complete, but the job is disabled."
        case JobStatus.WAITING:
            return f"It is {', and '.join(one.text for one in inputs if not one.complete)}."


def _in_words(dataset: str, one: MissingPartition, now: datetime) -> str:
    parts = [f"{dataset} {one.partition}".strip()]
    if one.usually_at is not None:
        parts.append(f"usually {_moment(one.usually_at, now)}")
    if one.late_seconds >= _SOON:
        parts.append(f"{length_in_words(one.late_seconds)} late")
    return ", ".join([*parts, *one.made_by])


def _moment(at: datetime, now: datetime) -> str:
    return f"{at:{'%H:%M' if at.date() == now.date() else '%Y-%m-%d %H:%M'}} UTC"
