"""``cordillera contract propose`` and what follows: breaking changes, and those who are asked about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cordillera.cli.command import command
from cordillera.cli.contract import ContractFile, app
from cordillera.cli.options import DEFAULT_LIMIT, DatasetName, Everything, Limit, read_text
from cordillera.cli.output import View, show, show_list
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce

if TYPE_CHECKING:
    from cordillera.spec.contract_proposal import AwaitedProposal, ContractProposal

_ProposalId = Annotated[UUID, typer.Argument(metavar="ID", help="The proposal's id.")]
_VIEW: View = {
    "id": "id",
    "state": "state",
    "reason": "reason",
    "proposed_by": "proposed_by",
    "proposed_at": "proposed_at",
    "deadline": "deadline",
    "waits_for": "waiting_for",
    "acknowledged": lambda proposal: [one.consumer for one in proposal.consumers if one.acknowledged_at],
    "outcome": "outcome",
}
_AWAITED: View = {
    "dataset": "dataset",
    "id": "proposal.id",
    "reason": "proposal.reason",
    "proposed_by": "proposal.proposed_by",
    "deadline": "proposal.deadline",
    "waits_for": "proposal.waiting_for",
}


@command(app, "propose", example="cordillera contract propose sales.orders orders.odcs.yaml --reason 'never filled'")
def propose(
    name: DatasetName,
    file: ContractFile,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who are asked.")],
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, help="After how many it takes effect all the same.", show_default=False),
    ] = None,
) -> None:
    """Ask those whom a contract breaks whether it may take effect. An open proposal is void then."""
    text = read_text(file)
    with open_lake() as lake:
        made = lake.backend.propose_contract(name, text, reason=reason, days=days)
    announce(f"Proposed. It waits for: {', '.join(made.waiting_for)}.")
    show(made, _VIEW)


@command(app, "proposals", example="cordillera contract proposals sales.orders")
def proposals(name: DatasetName, limit: Limit = DEFAULT_LIMIT, everything: Everything = False) -> None:
    """List proposals to change a dataset's contract, newest first."""
    with open_lake() as lake:

        def fetch(before: UUID | None, size: int) -> list[ContractProposal]:
            return lake.backend.contract_proposals(name, before, size)

        found = paged(fetch, None, lambda proposal: proposal.id, limit=limit, everything=everything)
        show_list(found, _VIEW, none=f"Nobody has proposed to change the contract of {name}.")


@command(app, "waiting", example="cordillera contract waiting")
def waiting(limit: Limit = DEFAULT_LIMIT, everything: Everything = False) -> None:
    """List the proposals that wait for you, newest first."""
    with open_lake() as lake:

        def fetch(before: UUID | None, size: int) -> list[AwaitedProposal]:
            return lake.backend.awaited_proposals(before, size)

        found = paged(fetch, None, lambda one: one.proposal.id, limit=limit, everything=everything)
        show_list(found, _AWAITED, none="No proposal waits for you.")


@command(
    app, "acknowledge", example="cordillera contract acknowledge sales.orders 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3"
)
def acknowledge(
    name: DatasetName,
    id: _ProposalId,
    comment: Annotated[str, typer.Option("--comment", help="What to tell whoever proposed it.")] = "",
) -> None:
    """Say, for whomever one speaks, that a proposal may take effect. With the last of them it does."""
    with open_lake() as lake:
        _told(lake.backend.acknowledge_proposal(name, id, comment))


@command(
    app,
    "override",
    example="cordillera contract override sales.orders 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --reason 'a legal order'",
)
def override(
    name: DatasetName,
    id: _ProposalId,
    reason: Annotated[str, typer.Option("--reason", help="Why; the audit log keeps it.")],
) -> None:
    """Put a proposal in force without waiting any longer for those who are asked."""
    with open_lake() as lake:
        _told(lake.backend.override_proposal(name, id, reason))


@command(app, "withdraw", example="cordillera contract withdraw sales.orders 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def withdraw(
    name: DatasetName, id: _ProposalId, reason: Annotated[str, typer.Option("--reason", help="Why.")] = ""
) -> None:
    """Take a proposal back."""
    with open_lake() as lake:
        _told(lake.backend.withdraw_proposal(name, id, reason))


def _told(proposal: ContractProposal) -> None:
    waiting = f", waiting for {', '.join(proposal.waiting_for)}" if proposal.waiting_for else ""
    announce(f"The proposal is {proposal.state}{waiting if proposal.state == 'open' else ''}.")
    show(proposal, _VIEW)
