"""The pages of jobs and runs."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request

from cordillera.client.backend import LakeBackend
from cordillera.errors import AccessDeniedError, NotFoundError, RunNotFoundError
from cordillera.spec.calendar import in_words
from cordillera.spec.workflow import RunState
from cordillera.web.home import tally_runs
from cordillera.web.paging import slice_of, uuid_or_none
from cordillera.web.rendering import Page, PageRouter, backend_of

_RUNS_OF_JOB, _WAITING, _EXPLAINED = 20, 20, 5

router = PageRouter()


@router.page("/jobs")
def jobs(request: Request, after: str = "") -> Page:
    """Show the jobs, each with its last run."""
    lake = backend_of(request)
    found = slice_of(lambda limit: lake.jobs(after, limit), lambda job: job.name)
    last_runs = [next(iter(lake.runs(job=job.name, limit=1)), None) for job in found.items]
    return Page("Jobs", "jobs.html", {"jobs": found, "last_runs": last_runs}, section="jobs")


@router.page("/jobs/{name:qualified}")
def job(request: Request, name: str) -> Page:
    """Show a job, what it waits for, and its last runs."""
    lake = backend_of(request)
    waiting = lake.waiting(name, _WAITING)
    found = lake.job(name)
    data = {
        "job": found,
        "calendar": _calendar(lake, found.output),
        "waiting": [lake.explain_job(name, one.partition) for one in waiting[:_EXPLAINED]],
        "more_waiting": [one.partition for one in waiting[_EXPLAINED:]],
        "runs": slice_of(lambda limit: lake.runs(job=name, limit=limit), lambda run: run.id, _RUNS_OF_JOB),
        "tally": tally_runs(lake, name),
    }
    return Page(name, "job.html", data, section="jobs")


def _calendar(lake: LakeBackend, output: str) -> str:
    """Return on which days the output of a job is expected; nothing for every day, or to who may not see it."""
    try:
        rule = lake.completion_rule(output)
    except (AccessDeniedError, NotFoundError):
        return ""
    return in_words(rule.rule.calendar) if rule else ""


@router.page("/runs")
def runs(request: Request, job: str = "", state: str = "", partition: str = "", before: str = "") -> Page:
    """Show runs, newest first."""
    lake, behind = backend_of(request), uuid_or_none(before)
    found = slice_of(
        lambda limit: lake.runs(
            job=job or None, state=state or None, partition=partition or None, before=behind, limit=limit
        ),
        lambda run: run.id,
    )
    filters = {"job": job, "state": state, "partition": partition}
    return Page("Runs", "runs.html", {"filters": filters, "states": list(RunState), "runs": found}, section="jobs")


@router.page("/runs/{run_id}")
def run(request: Request, run_id: str) -> Page:
    """Show a run."""
    lake = backend_of(request)
    try:
        found = lake.run(UUID(run_id))
    except ValueError:
        raise RunNotFoundError(f"There is no run {run_id[:60]!r}.", hint="Look for it in the list of runs.") from None
    data = {"run": found, "output": lake.job(found.job).output}
    return Page(f"Run of {found.job} for {found.partition}", "run.html", data, section="jobs")
