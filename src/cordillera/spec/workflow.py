"""Jobs and runs: SQL that starts when all its inputs are complete for a partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from cordillera.spec.job_trigger import UNMAPPED, JobTrigger


class RunState(StrEnum):
    """Where a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    """Its inputs were restated before it had ended; a later run took its place."""


@dataclass(frozen=True, slots=True)
class WantedJob:
    """A job that is to be made.

    Attributes:
        name: ``namespace.name``.
        sql: A SELECT over datasets; ``$partition`` stands for the partition's label.
        output_condition: Condition on the output telling which of its rows belong to ``$partition``; a run replaces
            them.
        output: The dataset it writes; empty for ``name``.
        inputs: The datasets that have to be complete for the partition; none for those the query reads.
        owner: Owner; empty for whoever makes it.
        description: What it is for.
        trigger: Which partitions of its inputs it needs, which partitions concern it, and what becomes of those that
            are restated.
    """

    name: str
    sql: str
    output_condition: str
    output: str = ""
    inputs: tuple[str, ...] = ()
    owner: str = ""
    description: str = ""
    trigger: JobTrigger = UNMAPPED


@dataclass(frozen=True, slots=True)
class Job:
    """A unit of work triggered by completions.

    Attributes:
        name: ``namespace.name``; by convention the dataset it writes.
        sql: A SELECT whose tables are datasets; ``$partition`` is the partition's label.
        inputs: Datasets that have to be complete for the partition, as the trigger maps it to theirs.
        output: The dataset it writes.
        output_condition: Condition on the output that says which rows belong to the partition; they are replaced as
            a whole. ``$partition`` is the label.
        enabled: Whether completions start runs.
        on_behalf_of: The principal who has to be allowed to read and write its datasets whenever it runs; empty where
            the lake's operator made it.
        trigger: When runs start.
    """

    id: UUID
    name: str
    sql: str
    inputs: tuple[str, ...]
    output: str
    output_condition: str
    owner: str
    description: str
    enabled: bool
    created_at: datetime
    on_behalf_of: str = ""
    trigger: JobTrigger = UNMAPPED


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a job for one partition and one state of its inputs.

    Attributes:
        input_revisions: Input → revision of the completion that started it; with a partition behind the name where it
            is not of the run's label.
        input_snapshots: Input → the snapshot that it reads; empty before it began.
        error: In plain words; empty while all is well.
        error_code: The kind of the error, as the classes of errors are named; empty while all is well.
        output_sequence: The snapshot it committed, if it succeeded and changed something.
    """

    id: UUID
    job_id: UUID
    job: str
    partition: str
    input_revisions: Mapping[str, int]
    state: RunState
    attempts: int
    error: str
    output_sequence: int | None
    rows_written: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    trace_id: str
    error_code: str = ""
    input_snapshots: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A partition for which a job has not started, and why."""

    partition: str
    complete: tuple[str, ...]
    missing: tuple[str, ...]
