"""Rows of jobs and runs."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.workflow import Job, Run, RunState


class JobRows(Protocol):
    """Jobs by name, and by the datasets they read."""

    def insert(self, job: Job) -> None:
        """Add a job; raises ``AlreadyExistsError`` if the name is taken."""

    def get(self, name: str) -> Job | None:
        """Return a job by name."""

    def get_by_id(self, job_id: UUID) -> Job | None:
        """Return a job by id."""

    def page(self, after: str, limit: int) -> list[Job]:
        """Return jobs by name behind ``after``."""

    def reading(self, dataset: str) -> list[Job]:
        """Return the enabled jobs that have a dataset (full name) among their inputs."""

    def naming(self, dataset: str, limit: int) -> list[str]:
        """Return the names of jobs, enabled or not, that read a dataset (full name) or write it."""

    def update(self, job: Job) -> None:
        """Store a job's sql, inputs, output, condition, owner, description and ``enabled`` anew."""

    def delete(self, name: str) -> None:
        """Remove a job and its runs."""


class RunRows(Protocol):
    """Runs. A job has at most one run for a partition and a state of its inputs."""

    def insert(self, run: Run) -> bool:
        """Add a run; False, with nothing changed, if one exists for the same job, partition and input revisions."""

    def get(self, run_id: UUID) -> Run | None:
        """Return a run by id."""

    def page(
        self,
        *,
        job: str | None = None,
        state: RunState | None = None,
        partition: str | None = None,
        before: UUID | None = None,
        limit: int,
    ) -> list[Run]:
        """Return runs newest first, created before the run ``before``; of one job, state or partition where given."""

    def update(self, run: Run) -> None:
        """Store a run's state, attempts, error, output, row count and times anew."""

    def supersede_queued(self, job_id: UUID, partition: str, keep: UUID, now: datetime) -> None:
        """Mark the queued runs of a partition superseded, except ``keep``."""

    def counts(self) -> dict[tuple[str, RunState], int]:
        """Return how many runs each job has in each state."""
