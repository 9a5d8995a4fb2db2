"""The pages that tell what happened and how the lake is: events, audit log, health."""

from __future__ import annotations

from starlette.requests import Request

from cordillera.web.levels import level_of, worst
from cordillera.web.paging import number_or_none, slice_of
from cordillera.web.rendering import Page, PageRouter, backend_of

router = PageRouter()
_LOOKED_AT = 500


@router.page("/events")
def events(request: Request, dataset: str = "", before: str = "") -> Page:
    """Show events, newest first."""
    lake, behind = backend_of(request), number_or_none(before)
    found = slice_of(
        lambda limit: lake.events(dataset=dataset or None, before=behind, limit=limit), lambda event: event.number
    )
    return Page("Events", "events.html", {"filters": {"dataset": dataset}, "events": found}, section="events")


@router.page("/audit")
def audit(request: Request, object: str = "", before: str = "") -> Page:
    """Show the audit log, newest first."""
    lake, behind = backend_of(request), number_or_none(before)
    found = slice_of(
        lambda limit: lake.audit(object_name=object or None, before=behind, limit=limit), lambda entry: entry.number
    )
    data = {"filters": {"object": object}, "audit": found, "chain": lake.verify_audit(newest=_LOOKED_AT)}
    return Page("Audit log", "audit.html", data, section="audit")


@router.page("/health")
def health(request: Request) -> Page:
    """Show what the doctor finds without listing the storage."""
    lake = backend_of(request)
    findings = lake.examine(files=False)
    level = worst(level_of(finding.verdict) for finding in findings)
    return Page("Health", "health.html", {"lake": lake.info(), "level": level, "findings": findings}, section="health")
