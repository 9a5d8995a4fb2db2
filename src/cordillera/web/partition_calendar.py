"""The calendar of a dataset's partitions: how each stands, why, and who waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cordillera.client.backend import LakeBackend
from cordillera.errors import AccessDeniedError, NotFoundError
from cordillera.spec.completion import (
    LABEL_FORMATS,
    Completion,
    CompletionUnit,
    begin_of,
    following,
    is_label,
    label_at,
)
from cordillera.spec.completion_rule import PartitionExplanation
from cordillera.spec.contract import ServiceLevel
from cordillera.spec.freshness import StripCell, cells
from cordillera.spec.job_explanation import JobExplanation
from cordillera.spec.lineage import Node, NodeKind
from cordillera.spec.partition_calendar import CalendarPage, calendar_page, period_of
from cordillera.spec.service_level import Prediction, predict

_MOST_JOBS, _MOST_WAITING = 10, 5
_AFTER_ALL_LABELS = "~"


@dataclass(frozen=True, slots=True)
class ChosenPartition:
    """A partition that somebody looks at.

    Attributes:
        usual: When it is usually complete; None where too little is known.
        jobs: How the jobs stand that wait for it.
    """

    explanation: PartitionExplanation
    usual: Prediction | None
    jobs: tuple[JobExplanation, ...]


@dataclass(frozen=True, slots=True)
class PartitionCalendar:
    """A page of the calendar, with how each partition on it stands.

    Attributes:
        previous, following: The pages before and behind; empty where there is nothing to see on them.
        last: The last partition that there is something to tell about.
    """

    page: CalendarPage
    previous: str
    following: str
    last: str
    cells: dict[str, StripCell]
    chosen: ChosenPartition | None


@dataclass(frozen=True, slots=True)
class CalendarSource:
    """Whose partitions they are, with what is known of them already.

    Attributes:
        dataset: The full name of the dataset.
        completions: The newest ones, highest label first.
    """

    lake: LakeBackend
    name: str
    dataset: str
    unit: CompletionUnit
    promised: ServiceLevel
    completions: Sequence[Completion]


def partition_calendar(source: CalendarSource, period: str, partition: str, now: datetime) -> PartitionCalendar | None:
    """Return a page of the calendar; None where partitions have no place in time.

    Args:
        source: Whose partitions.
        period: The page; by default that of the partition, or of the newest complete one.
        partition: The one to look at, if any.
        now: The present.

    Raises:
        InvalidPartitionError: If there is no such page.
    """
    unit = source.unit
    if unit not in LABEL_FORMATS:
        return None
    chosen = partition if is_label(unit, partition) else ""
    today = label_at(unit, now)
    newest = source.completions[0].partition if source.completions else today
    page = calendar_page(unit, period or period_of(unit, chosen or newest))
    complete, last = _completions(source, page), max(newest, today)
    earlier = bool(source.lake.completions(source.name, page.labels[0], 1))
    oldest = page.labels[0] if earlier else min((one.partition for one in complete), default=_AFTER_ALL_LABELS)
    found = cells(unit, source.promised, page.labels, complete, now, oldest=oldest)
    return PartitionCalendar(
        page,
        page.previous if earlier else "",
        page.following if page.following <= period_of(unit, last) else "",
        last,
        {cell.partition: cell for cell in found},
        _chosen(source, chosen) if chosen else None,
    )


def _completions(source: CalendarSource, page: CalendarPage) -> list[Completion]:
    last = page.labels[-1]
    behind = label_at(source.unit, following(source.unit, begin_of(source.unit, last)))
    found = source.lake.completions(source.name, behind, len(page.labels))
    return [completion for completion in found if completion.partition >= page.labels[0]]


def _chosen(source: CalendarSource, partition: str) -> ChosenPartition:
    explanation = source.lake.explain_completion(source.name, partition)
    usual = predict(source.unit, source.completions, partition) if explanation.completion is None else None
    return ChosenPartition(explanation, usual, tuple(_waiting_for(source, partition)))


def _waiting_for(source: CalendarSource, partition: str) -> Iterator[JobExplanation]:
    """Yield how the jobs stand, of those that read the dataset, whose runs wait for a partition."""
    graph = source.lake.lineage(Node(NodeKind.DATASET, source.dataset), upstream=0, downstream=1)
    jobs = sorted({node.name for node in graph.nodes() if node.kind is NodeKind.JOB})
    for job in jobs[:_MOST_JOBS]:
        try:
            waiting = source.lake.waiting(job, _MOST_WAITING)
            explained = [source.lake.explain_job(job, one.partition) for one in waiting]
        except (AccessDeniedError, NotFoundError):  # he may see that it reads, not the job
            continue
        yield from (one for one in explained if _waits(one, source.dataset, partition))


def _waits(explanation: JobExplanation, dataset: str, partition: str) -> bool:
    return any(
        one.dataset == dataset and partition in {missing.partition for missing in one.missing}
        for one in explanation.inputs
    )
