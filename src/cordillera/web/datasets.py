"""The pages of a dataset."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cordillera.errors import InvalidInputError, NotFoundError
from cordillera.spec.catalog import Dataset
from cordillera.web.dataset_tabs import TABS, begin_visit, health
from cordillera.web.dataset_views import split_tags
from cordillera.web.forms import problem_of
from cordillera.web.links import link
from cordillera.web.paging import number_or_none
from cordillera.web.rendering import Page, PageRouter, backend_of

_MOST_ENTRIES = 200

router = PageRouter()


@router.page("/datasets/{name:qualified}")
def dataset(request: Request, name: str, tab: str = "overview") -> Page:
    """Show a dataset: its head, and one tab."""
    if tab not in TABS:
        raise InvalidInputError(f"A dataset has no tab {tab[:40]!r}.", hint=f"Tabs: {', '.join(TABS)}.")
    base_url = str(request.base_url).rstrip("/")
    visit = begin_visit(backend_of(request), name, request.query_params, datetime.now(UTC), base_url)
    data = {
        "name": name,
        "dataset": visit.details.dataset,
        "version": visit.details.version,
        "versions": visit.details.versions,
        "tab": tab,
        "tabs": list(TABS),
        "health": health(visit),
        "last_completion": visit.completions[0] if visit.completions else None,
        "content": TABS[tab](visit),
    }
    title = name if tab == "overview" else f"{name}: {tab}"
    return Page(title, f"dataset_{tab}.html", data, section="datasets")


@router.page("/datasets/{name:qualified}/snapshots/{sequence}")
def snapshot(request: Request, name: str, sequence: str) -> Page:
    """Show a snapshot and what it changed, file by file."""
    number = number_or_none(sequence)
    if number is None:
        raise NotFoundError(f"{name} has no such snapshot.")
    lake = backend_of(request)
    found, manifest = lake.snapshot(name, number), lake.manifest(name, number)
    data = {
        "name": name,
        "snapshot": found,
        "key": manifest.key,
        "entries": manifest.entries[:_MOST_ENTRIES],
        "unlisted": max(len(manifest.entries) - _MOST_ENTRIES, 0),
        "current": lake.dataset(name).version.sequence_number,
    }
    return Page(f"{name}: snapshot {number}", "snapshot.html", data, section="datasets")


@router.page("/datasets/{name:qualified}/edit")
def edit(request: Request, name: str) -> Page:
    """Show the form for a dataset's owner, description and tags."""
    found = backend_of(request).dataset(name).dataset
    return _form(found, found.owner, found.description, ", ".join(found.tags))


@router.page("/datasets/{name:qualified}/edit", methods=("POST",))
def save(
    request: Request,
    name: str,
    owner: Annotated[str, Form()] = "",
    description: Annotated[str, Form()] = "",
    tags: Annotated[str, Form()] = "",
) -> Page | Response:
    """Store what the form says; what cannot be stored comes back with the reason."""
    lake = backend_of(request)
    try:
        changed = lake.update_dataset(
            name,
            owner=owner.strip(),
            description=description.replace("\r\n", "\n").strip(),
            tags=split_tags(tags),
        )
    except InvalidInputError as error:
        return _form(lake.dataset(name).dataset, owner, description, tags, error)
    return RedirectResponse(link(f"/datasets/{changed.full_name}"), 303)


def _form(found: Dataset, owner: str, description: str, tags: str, problem: InvalidInputError | None = None) -> Page:
    data = {
        "name": found.full_name,
        "owner": owner,
        "description": description,
        "tags": tags,
        "problem": problem_of(problem),
    }
    status = problem.status if problem else 200
    return Page(f"Edit {found.full_name}", "dataset_edit.html", data, status, section="datasets")
