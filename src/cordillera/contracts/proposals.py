"""Contract proposals: asking consumers about breaking changes, and putting them in force when they may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from cordillera.catalog.consumers import others
from cordillera.catalog.lookup import Lookup, ResolvedDataset, page_limit
from cordillera.catalog.trail import Trail
from cordillera.context import acting, current
from cordillera.contracts.service import ContractService
from cordillera.errors import (
    AccessDeniedError,
    ContractProposalNotFoundError,
    InvalidInputError,
    NotAllowedError,
    TerminalError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec import contract_proposal as rules
from cordillera.spec.access import LAKE_ID, Privilege, Viewer
from cordillera.spec.contract_proposal import AskedConsumer, AwaitedProposal, ContractProposal, ProposalState
from cordillera.spec.deputy import Duty
from cordillera.spec.event import Topic
from cordillera.spec.texts import check_texts

_AT_ONCE = 100


class ProposalService:
    """Takes proposals, and puts them in force.

    Args:
        store: Keeps proposals.
        lookup: Knows whom somebody speaks for.
        contracts: Keeps the contracts.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, contracts: ContractService, clock: Clock) -> None:
        self._store, self._lookup, self._contracts, self._clock = store, lookup, contracts, clock

    def propose(self, target: ResolvedDataset, text: str, *, reason: str, days: int | None = None) -> ContractProposal:
        """Ask those whom a document breaks whether it may take effect. An open proposal is void then.

        Args:
            target: The dataset version.
            text: The ODCS document.
            reason: Why, for those who are asked.
            days: After how many it takes effect, acknowledged or not; by default it waits for everybody.

        Raises:
            InvalidContractError: If the document is malformed, or promises what the dataset cannot keep.
            NotAllowedError: If it breaks nobody else: it can be put at once.
            InvalidInputError: If there is no reason.
        """
        if not reason.strip():
            raise InvalidInputError("A proposal needs a reason.", hint="Say why it changes, and what to do about it.")
        if days is not None and not 1 <= days <= rules.MOST_DAYS:
            raise InvalidInputError(f"A deadline cannot be {days} days away.", hint=f"Use 1 to {rules.MOST_DAYS}.")
        check_texts("proposal for", target.name, purpose=reason)
        self._contracts.fitting(target, text)
        now, by = self._clock.now(), current().principal
        deadline = None if days is None else now + timedelta(days=days)
        with self._store.write() as tx:
            base, concerned = self._contracts.concerned(tx, target, text)
            asked = others(tx, self._lookup, concerned)
            if not asked:
                raise NotAllowedError(
                    f"The contract breaks nobody who relies on {target.name}, so there is nobody to ask.",
                    hint=f"Put it in force: cordillera contract put {target.name} FILE.",
                )
            tx.contract_proposals.void(target.version.id, by, now, "It was revised.")
            consumers = tuple(AskedConsumer(name, uses) for name, uses in sorted(concerned.items()))
            made = ContractProposal(
                self._clock.new_id(), target.version.id, base, text, reason, by, now, deadline, deadline,
                ProposalState.OPEN, consumers,
            )  # fmt: skip
            mine = dict.fromkeys(concerned.keys() - asked.keys(), "")  # who proposes agrees himself
            made = rules.acknowledged(made, mine, by, now, "")
            tx.contract_proposals.insert(made)
            self._leave_trail(tx, target, made, "propose", reason)
        return made

    def page(self, target: ResolvedDataset, before: UUID | None = None, limit: int = 100) -> list[ContractProposal]:
        """Return a page of a dataset version's proposals, newest first; of consumers, those who may be seen."""
        with self._store.read() as tx:
            found = tx.contract_proposals.page(target.version.id, before, page_limit(limit))
            return [self._shown(tx, target, one) for one in found]

    def awaiting(self, before: UUID | None = None, limit: int = 100) -> list[AwaitedProposal]:
        """Return a page of the open proposals that wait for whomever whoever acts speaks for, newest first.

        Of the consumers those are told that he speaks for.
        """
        with self._store.read() as tx:
            viewer = self._viewer(tx)
            found = tx.contract_proposals.awaiting(viewer, before, page_limit(limit))
            if viewer is None:
                return found
            return [replace(one, proposal=self._of_mine(tx, viewer, one.proposal)) for one in found]

    def acknowledge(self, target: ResolvedDataset, proposal_id: UUID, comment: str = "") -> ContractProposal:
        """Say, for whomever one speaks, that a proposal may take effect. With the last of them it does.

        Raises:
            ContractProposalNotFoundError: If there is none.
            NotAllowedError: If it is not open.
            AccessDeniedError: If whoever acts speaks for nobody who is asked.
        """
        check_texts("proposal", str(proposal_id), purpose=comment)

        def told(tx: Transaction, proposal: ContractProposal, now: datetime) -> ContractProposal:
            spoken = self._spoken_for(tx, self._viewer(tx), proposal)
            if spoken.keys().isdisjoint(proposal.waiting_for):
                raise AccessDeniedError(
                    f"{current().principal} speaks for nobody whom the proposal {proposal.id} waits for.",
                    hint="Whoever subscribes or owns the job can acknowledge it.",
                )
            return rules.acknowledged(proposal, spoken, current().principal, now, comment)

        changed = self._change(target, proposal_id, "acknowledge", comment, told)
        return changed if changed.waiting_for else self._take_effect(target, proposal_id, "Everybody acknowledged it.")

    def override(self, target: ResolvedDataset, proposal_id: UUID, reason: str) -> ContractProposal:
        """Put a proposal in force without waiting any longer.

        Raises:
            AccessDeniedError: If whoever acts neither administers the dataset, nor is a deputy of somebody who does.
            ContractProposalNotFoundError: If there is none.
            NotAllowedError: If it is not open.
            InvalidInputError: If there is no reason.
        """
        if not reason.strip():
            raise InvalidInputError("To override consumers needs a reason.", hint="It is kept in the audit log.")
        with self._deciding(target, proposal_id):
            self._change(target, proposal_id, "override", reason, lambda _tx, proposal, _now: proposal)
            whose = f" for {' and '.join(owners)}" if (owners := current().deputy_of) else ""
            return self._take_effect(target, proposal_id, f"Overridden{whose}: {reason}", asking=False)

    def withdraw(self, target: ResolvedDataset, proposal_id: UUID, reason: str = "") -> ContractProposal:
        """Take a proposal back.

        Raises:
            AccessDeniedError: If whoever acts neither administers the dataset, nor is a deputy of somebody who does.
            ContractProposalNotFoundError: If there is none.
            NotAllowedError: If it is not open.
        """

        def withdrawn(_: Transaction, proposal: ContractProposal, now: datetime) -> ContractProposal:
            return rules.ended(proposal, ProposalState.WITHDRAWN, current().principal, now, reason)

        with self._deciding(target, proposal_id):
            return self._change(target, proposal_id, "withdraw", reason, withdrawn)

    def follow_up(self) -> int:
        """Put in force what nobody has to be waited for any more; return how many proposals there were to look at."""
        with self._store.read() as tx:
            due = tx.contract_proposals.due(self._clock.now(), _AT_ONCE)
            found = [(one, self._target(tx, one)) for one in due]
        for proposal, target in found:
            late = bool(proposal.waiting_for)
            with acting(operator=True), suppress(NotAllowedError):  # somebody else may have ended it meanwhile
                outcome = "Its deadline passed." if late else "Everybody acknowledged it."
                self._take_effect(target, proposal.id, outcome, asking=not late)
        return len(found)

    # --- parts ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _deciding(self, target: ResolvedDataset, proposal_id: UUID) -> Iterator[None]:
        """Run the block as who administers the dataset, or as the deputy of those who do.

        As a deputy nobody decides about what he has proposed himself.
        """
        with self._store.read() as tx:
            owners: tuple[str, ...] = ()
            if Privilege.ADMINISTER not in self._lookup.held(tx, target.dataset, target.version):
                proposal = tx.contract_proposals.get(proposal_id)
                if proposal is None or not self._lookup.authorizer.acts_for(tx, proposal.proposed_by):
                    owners = self._deputed(tx, target)
                if not owners:
                    self._lookup.require(tx, target.dataset, Privilege.ADMINISTER, version=target.version)
        with acting(deputy_of=owners):
            yield

    def _deputed(self, tx: Transaction, target: ResolvedDataset) -> tuple[str, ...]:
        duty = Duty.CONTRACT_OVERRIDES
        return self._lookup.authorizer.deputed(tx, duty, target.dataset, Privilege.ADMINISTER)

    def _take_effect(
        self, target: ResolvedDataset, proposal_id: UUID, outcome: str, *, asking: bool = True
    ) -> ContractProposal:
        """Put a proposal in force, unless somebody else has done it, or others have come to be concerned."""
        with self._store.read() as tx:
            proposal = self._found(tx, target, proposal_id)
        now, by = self._clock.now(), current().principal
        try:
            fitting = self._contracts.fitting(target, proposal.text)
        except TerminalError as error:
            with self._store.write() as tx:
                void = rules.ended(self._locked(tx, target, proposal_id), ProposalState.VOID, by, now, error.message)
                tx.contract_proposals.put(void)
                self._leave_trail(tx, target, void, "void", error.message)
            return void
        with self._store.write() as tx:
            proposal = self._locked(tx, target, proposal_id)
            if asking:
                _, concerned = self._contracts.concerned(tx, target, proposal.text)
                asked = rules.asking(proposal, concerned)
                if asked.waiting_for:
                    tx.contract_proposals.put(asked)
                    return self._shown(tx, target, asked)
            after = rules.ended(proposal, ProposalState.IN_FORCE, by, now, outcome)
            tx.contract_proposals.put(after)
            self._contracts.put_in_force(tx, target, fitting, proposal.text, proposal.proposed_by)
            self._leave_trail(tx, target, after, "take_effect", outcome)
            return self._shown(tx, target, after)

    def _change(
        self,
        target: ResolvedDataset,
        proposal_id: UUID,
        action: str,
        reason: str,
        change: Callable[[Transaction, ContractProposal, datetime], ContractProposal],
    ) -> ContractProposal:
        with self._store.write() as tx:
            before = self._locked(tx, target, proposal_id)
            after = change(tx, before, self._clock.now())
            tx.contract_proposals.put(after)
            owners = {one.deputy_of for one in set(after.consumers) - set(before.consumers)} - {""}
            with acting(deputy_of=tuple(sorted(owners))):
                self._leave_trail(tx, target, after, action, reason)
            return self._shown(tx, target, after) if after.waiting_for else after

    def _locked(self, tx: Transaction, target: ResolvedDataset, proposal_id: UUID) -> ContractProposal:
        found = tx.contract_proposals.lock(proposal_id)
        if found is None or found.dataset_version_id != target.version.id:
            raise _none(target, proposal_id)
        rules.check_open(found)
        return found

    def _found(self, tx: Transaction, target: ResolvedDataset, proposal_id: UUID) -> ContractProposal:
        found = tx.contract_proposals.get(proposal_id)
        if found is None or found.dataset_version_id != target.version.id:
            raise _none(target, proposal_id)
        return found

    def _target(self, tx: Transaction, proposal: ContractProposal) -> ResolvedDataset:
        version = tx.dataset_versions.get(proposal.dataset_version_id)
        assert version is not None, "a proposal goes with its dataset version"
        dataset = tx.datasets.get_by_id(version.dataset_id)
        assert dataset is not None, "a dataset version is one of a dataset"
        return ResolvedDataset(dataset, version)

    def _shown(self, tx: Transaction, target: ResolvedDataset, proposal: ContractProposal) -> ContractProposal:
        """Return a proposal as whoever acts may see it: who relies on a dataset is for those who administer it, and for
        deputies who decide in their place."""
        if Privilege.ADMINISTER in self._lookup.held(tx, target.dataset) or self._deputed(tx, target):
            return proposal
        return self._of_mine(tx, self._viewer(tx), proposal)

    def _viewer(self, tx: Transaction) -> Viewer | None:
        return self._lookup.authorizer.viewer_for(tx, Duty.CONTRACT_PROPOSALS)

    def _of_mine(self, tx: Transaction, viewer: Viewer | None, proposal: ContractProposal) -> ContractProposal:
        """Return a proposal with those of its consumers alone that a viewer speaks for."""
        spoken = self._spoken_for(tx, viewer, proposal)
        return rules.of_consumers(proposal, spoken.__contains__)

    def _spoken_for(self, tx: Transaction, viewer: Viewer | None, proposal: ContractProposal) -> Mapping[str, str]:
        """Return the consumers that a viewer speaks for, each with the owner for whom he stands in; empty if for none.

        As a deputy nobody speaks about what he has proposed himself.
        """
        asked = [one.consumer for one in proposal.consumers]
        if viewer is None:
            return dict.fromkeys(asked, "")
        spoken = {consumer: "" for consumer in asked if viewer.owns(consumer)}
        if viewer.stands_in:
            dataset = self._target(tx, proposal).dataset
            within = {LAKE_ID, dataset.id, *(one.id for one in tx.namespaces.with_parents(dataset.namespace))}
            for one in viewer.standing_in(within, proposal.proposed_by):
                spoken.update({name: one.owner for name in asked if name not in spoken and one.viewer.owns(name)})
        return spoken

    def _leave_trail(
        self, tx: Transaction, target: ResolvedDataset, proposal: ContractProposal, action: str, reason: str
    ) -> None:
        trail = Trail(tx, self._clock.now())
        details = {"proposal": str(proposal.id), "state": proposal.state, "waiting": len(proposal.waiting_for)}
        trail.audit(f"contract.{action}", "dataset", target.name, {**details, "reason": reason})
        name = target.dataset.full_name
        trail.event(Topic.CONTRACT_PROPOSAL_CHANGED, name, target.version.id, details)


def _none(target: ResolvedDataset, proposal_id: UUID) -> ContractProposalNotFoundError:
    return ContractProposalNotFoundError(
        f"There is no proposal {proposal_id} for the contract of {target.name}.",
        hint=f"List them with: cordillera contract proposals {target.name}.",
    )
