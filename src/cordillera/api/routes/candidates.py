"""What contracts have refused."""

from __future__ import annotations

from fastapi import APIRouter

from cordillera.api.parameters import Backend, Name
from cordillera.codec import Page
from cordillera.spec.candidate import Candidate

router = APIRouter(prefix="/datasets/{name}/contract/candidates", tags=["contracts"])


@router.get("", summary="List refused commits")
def list_candidates(backend: Backend, name: Name) -> Page[Candidate]:
    """Snapshots that broke the contract, newest first; each is kept on a branch for a week, the newest five of them."""
    return Page(backend.candidates(name), None)


@router.get("/{branch}", summary="Show a refused commit")
def show_candidate(backend: Backend, name: Name, branch: str) -> Candidate:
    """The rules that a snapshot broke, with examples of rows, as far as they are shown to whoever asks."""
    return backend.candidate(name, branch)
