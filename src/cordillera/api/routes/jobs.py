"""Jobs and their runs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cordillera.api.parameters import After, Backend, IdempotencyKey, Limit, LongText, Text
from cordillera.client.backend import RunCount
from cordillera.codec import Page, page
from cordillera.spec.job_explanation import JobExplanation
from cordillera.spec.job_trigger import UNMAPPED, JobTrigger
from cordillera.spec.workflow import Job, Run, Waiting, WantedJob

router = APIRouter(tags=["jobs"])


class NewJob(BaseModel):
    """A job to be made."""

    name: Text = Field(description="`namespace.name`")
    sql: LongText = Field(description="A SELECT over datasets; `$partition` is the partition's label.")
    output_condition: LongText = Field(description="Which rows of the output belong to `$partition`.")
    output: Text = Field("", description="The dataset it writes; the job's name by default.")
    inputs: list[Text] = Field([], description="Datasets to wait for; those the query reads by default.")
    owner: Text = ""
    description: Text = ""
    trigger: JobTrigger = Field(UNMAPPED, description="When runs start, where that is not for every same partition.")


class JobChange(BaseModel):
    """What is to change."""

    enabled: bool = Field(description="Whether completions start runs.")


class NewRun(BaseModel):
    """The partition to run for."""

    partition: Text = Field(examples=["2013-01-31"])


@router.get("/jobs", summary="List jobs")
def list_jobs(backend: Backend, after: After = "", limit: Limit = 100) -> Page[Job]:
    """Jobs by name."""
    return page(backend.jobs(after, limit), limit, lambda job: job.name)


@router.post("/jobs", status_code=201, summary="Create a job")
def create_job(backend: Backend, wanted: NewJob) -> Job:
    """Make a job that runs when its inputs are complete."""
    return backend.create_job(WantedJob(**{**dict(wanted), "inputs": tuple(wanted.inputs)}))


@router.get("/jobs/{name}", summary="Show a job")
def show_job(backend: Backend, name: Text) -> Job:
    """One job."""
    return backend.job(name)


@router.patch("/jobs/{name}", summary="Enable or disable a job")
def set_job_enabled(backend: Backend, name: Text, change: JobChange) -> Job:
    """Let completions start runs of a job, or stop them doing so."""
    return backend.set_job_enabled(name, change.enabled)


@router.delete("/jobs/{name}", status_code=204, summary="Delete a job")
def delete_job(backend: Backend, name: Text) -> None:
    """Remove a job and its runs; the dataset it wrote stays."""
    backend.delete_job(name)


@router.post("/jobs/{name}/runs", status_code=201, summary="Run a job")
def run_job(backend: Backend, name: Text, wanted: NewRun, idempotency_key: IdempotencyKey) -> Run:
    """Run a job for a partition whose inputs are complete, even if it has run for them before."""
    return backend.run_job(name, wanted.partition, idempotency_key=idempotency_key)


@router.get("/jobs/{name}/waiting", summary="List partitions a job waits for")
def list_waiting(backend: Backend, name: Text, limit: Limit = 50) -> Page[Waiting]:
    """Partitions for which some inputs are complete and others not. There is one page, of the newest."""
    return Page(backend.waiting(name, limit), None)


@router.get("/jobs/{name}/explanation", summary="Explain why a job has not started")
def explain_job(
    backend: Backend,
    name: Text,
    partition: Annotated[
        Text | None, Query(description="By default the latest that the job waits for.", examples=["2013-01-31"])
    ] = None,
) -> JobExplanation:
    """Each input: complete as of a snapshot, or what is waited for, when that usually comes, and why it has not."""
    return backend.explain_job(name, partition)


@router.get("/runs", summary="List runs")
def list_runs(
    backend: Backend,
    job: Annotated[Text | None, Query(description="Only those of one job.")] = None,
    state: Annotated[Text | None, Query(description="queued, running, succeeded, failed or superseded.")] = None,
    partition: Annotated[Text | None, Query(description="Only those for one partition.")] = None,
    before: UUID | None = None,
    limit: Limit = 100,
) -> Page[Run]:
    """Runs, newest first."""
    found = backend.runs(job=job, state=state, partition=partition, before=before, limit=limit)
    return page(found, limit, lambda run: run.id)


@router.get("/runs/{run_id}", summary="Show a run")
def show_run(backend: Backend, run_id: UUID) -> Run:
    """One run."""
    return backend.run(run_id)


@router.get("/run-counts", summary="Count runs")
def count_runs(backend: Backend) -> Page[RunCount]:
    """How many runs each job has in each state."""
    return Page(backend.run_counts(), None)
