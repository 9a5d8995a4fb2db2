"""Rows of jobs and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from cordillera.spec.access import Viewer
from cordillera.spec.workflow import Job, Run, RunState

Completed: TypeAlias = tuple[str, str]
"""What has become complete: a dataset (full name), and the label of its partition."""


class JobRows(Protocol):
    """Jobs by name, and by the datasets they read."""

    def insert(self, job: Job) -> None:
        """Add a job; raises ``AlreadyExistsError`` if the name is taken."""

    def get(self, name: str, *, viewer: Viewer | None = None) -> Job | None:
        """Return a job by name, if a viewer may see it.

        A viewer sees the jobs that are his; and those of which he administers a dataset, if he may discover all that
        they read and write.
        """

    def get_by_id(self, job_id: UUID) -> Job | None:
        """Return a job by id."""

    def page(self, after: str, limit: int, *, viewer: Viewer | None = None) -> list[Job]:
        """Return jobs by name behind ``after``, those that a viewer may see."""

    def concerned_by(self, completed: Sequence[Completed]) -> list[tuple[Job, Completed]]:
        """Return the enabled jobs that completions of partitions can start runs of, by name, each with what can.

        They are locked for this transaction: of two workers that handle completions of two inputs, the second sees what
        the first has decided.
        """

    def standing_by(self, completed: Sequence[Completed]) -> list[tuple[Job, tuple[str, Completed]]]:
        """Return the partitions of enabled jobs that stand by for completions of partitions, each with what for; the
        jobs are locked likewise.
        """

    def stand_by(self, job_id: UUID, partition: str, needed: Mapping[str, str]) -> None:
        """Note the standing inputs that a partition waits for, in the place of those there were.

        Args:
            job_id: The job.
            partition: Its partition.
            needed: Dataset (full name) → the label that has to be complete, an empty one for any; none if it waits for
                nothing more.
        """

    def writing(self, names: Sequence[str]) -> list[Job]:
        """Return the jobs, enabled or not, whose output has one of some names, by name."""

    def naming(self, dataset: str, limit: int) -> list[str]:
        """Return the names of jobs, enabled or not, that read a dataset (full name) or write it."""

    def update(self, job: Job) -> None:
        """Store a job anew: all but its id, its name and when it was made."""

    def delete(self, name: str) -> None:
        """Remove a job and its runs."""


class RunRows(Protocol):
    """Runs. A job has at most one run for a partition and a state of its inputs."""

    def insert(self, run: Run) -> bool:
        """Add a run; False, with nothing changed, if one exists for the same job, partition and input revisions."""

    def get(self, run_id: UUID, *, viewer: Viewer | None = None) -> Run | None:
        """Return a run by id, if a viewer may see its job."""

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
        """Return runs newest first, created before the run ``before``; of one job, state or partition where given.

        A viewer gets those of jobs that he may see.
        """

    def update(self, run: Run) -> None:
        """Store a run's state, attempts, error, output, row count and times anew."""

    def rebase(self, run: Run) -> bool:
        """Store the revisions and snapshots of a run's inputs anew; False if another run of its job and partition has
        the same revisions, with nothing changed.
        """

    def supersede_queued(self, job_id: UUID, partition: str, keep: UUID, now: datetime) -> None:
        """Mark the queued runs of a partition superseded, except ``keep``."""

    def counts(self, *, viewer: Viewer | None = None) -> dict[tuple[str, RunState], int]:
        """Return how many runs each job that a viewer may see has in each state."""
