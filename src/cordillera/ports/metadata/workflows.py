"""Rows of jobs and runs."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.access import Viewer
from cordillera.spec.workflow import Job, Run, RunState


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

    def reading(self, dataset: str) -> list[Job]:
        """Return the enabled jobs that have a dataset (full name), or a dataset version of it, among their inputs."""

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

    def supersede_queued(self, job_id: UUID, partition: str, keep: UUID, now: datetime) -> None:
        """Mark the queued runs of a partition superseded, except ``keep``."""

    def counts(self, *, viewer: Viewer | None = None) -> dict[tuple[str, RunState], int]:
        """Return how many runs each job that a viewer may see has in each state."""
