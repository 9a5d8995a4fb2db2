"""The pages on which contracts are changed, and proposals to change them decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cordillera.client.backend import LakeBackend
from cordillera.errors import (
    BreakingChangeError,
    ContractNotFoundError,
    ContractProposalNotFoundError,
    CordilleraError,
    InvalidContractError,
    InvalidInputError,
    NotAllowedError,
)
from cordillera.spec.contract import ContractCheck
from cordillera.web.forms import number_of, problem_of
from cordillera.web.links import link
from cordillera.web.rendering import Page, PageRouter, backend_of

_REFUSED = (BreakingChangeError, InvalidContractError, InvalidInputError, NotAllowedError)

router = PageRouter()


@router.page("/datasets/{name:qualified}/contract/edit")
def edit(request: Request, name: str) -> Page:
    """Show the form for a contract, with the one in force or a draft of the first."""
    lake = backend_of(request)
    return _form(lake, name, _present(lake, name) or lake.draft_contract(name))


@router.page("/datasets/{name:qualified}/contract/edit", methods=("POST",))
def save(
    request: Request,
    name: str,
    text: Annotated[str, Form()] = "",
    step: Annotated[str, Form()] = "check",
    reason: Annotated[str, Form()] = "",
    days: Annotated[str, Form()] = "",
) -> Page | Response:
    """Check a document, put it in force, or propose it; what is refused comes back with the reason."""
    lake = backend_of(request)
    before = _present(lake, name)
    document = text if before and "\r\n" in before else text.replace("\r\n", "\n")  # browsers end lines with both
    try:
        if step == "put":
            lake.put_contract(name, document)
        elif step == "propose":
            lake.propose_contract(name, document, reason=reason.strip(), days=number_of(days, "days"))
        else:
            return _form(lake, name, document, checked=True)
    except _REFUSED as error:
        return _form(lake, name, document, checked=True, reason=reason, days=days, problem=error)
    return _tab(name)


@router.page("/datasets/{name:qualified}/contract/proposals/{proposal_id}/{decision}", methods=("POST",))
def decide(
    request: Request, name: str, proposal_id: str, decision: str, reason: Annotated[str, Form()] = ""
) -> Response:
    """Acknowledge, override or withdraw a proposal."""
    lake = backend_of(request)
    decisions: dict[str, Callable[[str, UUID, str], object]] = {
        "acknowledge": lake.acknowledge_proposal,
        "override": lake.override_proposal,
        "withdraw": lake.withdraw_proposal,
    }
    if decision not in decisions:
        raise InvalidInputError(f"A proposal cannot be {decision[:40]!r}.", hint=f"Use: {', '.join(decisions)}.")
    decisions[decision](name, _id(proposal_id), reason.strip())
    return _tab(name)


def _form(
    lake: LakeBackend,
    name: str,
    text: str,
    *,
    checked: bool = False,
    reason: str = "",
    days: str = "",
    problem: CordilleraError | None = None,
) -> Page:
    """Return the form; where the document was checked, with what is wrong with it and what it would change."""
    found = lake.check_contract(text) if checked else ContractCheck(())
    present = _present(lake, name)
    changes = lake.diff_contract(name, text) if checked and present and not found.wrong else []
    data = {
        "name": name,
        "text": text,
        "checked": checked,
        "first": present is None,
        "found": found,
        "changes": changes,
        "asks": any(one.breaks_consumers for one in changes),
        "reason": reason,
        "days": days,
        "problem": problem_of(problem),
    }
    status = problem.status if problem else 200
    return Page(f"Contract of {name}", "contract_edit.html", data, status, section="datasets")


def _present(lake: LakeBackend, name: str) -> str | None:
    try:
        return lake.contract(name).text
    except ContractNotFoundError:
        return None


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ContractProposalNotFoundError(
            f"There is no proposal {text[:60]!r}.", hint="Look for it on the contract's page."
        ) from None


def _tab(name: str) -> Response:
    return RedirectResponse(link(f"/datasets/{name}", tab="contract"), 303)
