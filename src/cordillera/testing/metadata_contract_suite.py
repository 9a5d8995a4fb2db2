"""What a metadata store must do with contracts, proposals to change them, and service levels, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from cordillera.errors import AlreadyExistsError
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.metadata.contracts import ContractDocument, KeptPartials
from cordillera.spec.access import Privilege, Viewer
from cordillera.spec.candidate import Candidate
from cordillera.spec.contract import Severity, Violation
from cordillera.spec.contract_proposal import AskedConsumer, ContractProposal, ProposalState, acknowledged
from cordillera.spec.freshness import FreshnessState
from cordillera.spec.service_level import ServiceLevelWatch
from cordillera.spec.table_metadata import IcebergSnapshot
from cordillera.testing.metadata_samples import NOW, PRINCIPAL, later, stored_dataset


class ContractSuite:
    """Contracts, proposals and service levels."""

    def test_the_highest_revision_of_a_contract_is_in_force(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        texts = ["apiVersion: v3.1.0\n", "# ünchanged\r\n\ttext  \n"]
        documents = [
            ContractDocument(version.id, number + 1, text, PRINCIPAL, later(number))
            for number, text in enumerate(texts)
        ]
        with store.write() as tx:
            assert tx.contracts.current(version.id) is None
            assert tx.dataset_versions.get(version.id) == version
            assert version.contract_revision == 0
            for document in documents:
                tx.contracts.insert(document)
            with pytest.raises(AlreadyExistsError, match="2"):
                tx.contracts.insert(documents[1])
            assert tx.contracts.current(version.id) == documents[1]
            assert tx.dataset_versions.page(version.dataset_id) == [replace(version, contract_revision=2)]
            assert tx.contracts.page(version.id) == documents[::-1]
            assert tx.contracts.page(version.id, limit=1) == documents[1:]
            assert tx.contracts.page(version.id, 2) == documents[:1]

    def test_a_dataset_version_has_one_open_proposal(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        asked = (AskedConsumer("team:bi", ("job:a.b",)), AskedConsumer("user:x", (), "user:y", NOW, "ünder way"))
        first = ContractProposal(
            UUID(int=1), version.id, 3, "text: 'ü'\r\n", "why", PRINCIPAL, NOW, later(5), later(5),
            ProposalState.OPEN, asked,
        )  # fmt: skip
        second = replace(first, id=UUID(int=2), proposed_at=later(1), deadline=None, due_at=None)
        with store.write() as tx:
            tx.contract_proposals.insert(first)
            assert tx.contract_proposals.lock(first.id) == tx.contract_proposals.get(first.id) == first
            assert (tx.contract_proposals.due(later(4), 10), tx.contract_proposals.due(later(5), 10)) == ([], [first])
            tx.contract_proposals.void(version.id, PRINCIPAL, later(1), "It was revised.")
            tx.contract_proposals.insert(second)
            void = tx.contract_proposals.get(first.id)
            assert void is not None
            assert (void.state, void.due_at, void.ended_at) == (ProposalState.VOID, None, later(1))
            assert tx.contract_proposals.due(later(9), 10) == []
            assert tx.contract_proposals.page(version.id, None, 10) == [second, void]
            assert tx.contract_proposals.page(version.id, second.id, 10) == [void]
            tx.contract_proposals.put(replace(second, state=ProposalState.WITHDRAWN, ended_by=PRINCIPAL))
            assert tx.contract_proposals.awaiting(None, None, 10) == []
        with store.read() as tx:
            assert tx.contract_proposals.page(version.id, None, 1)[0].state is ProposalState.WITHDRAWN
            assert tx.contract_proposals.get(UUID(int=9)) is None

    def test_candidates_are_found_by_dataset_version_and_by_when_they_expire(self, store: MetadataStore) -> None:
        (_, version), (_, other) = stored_dataset(store), stored_dataset(store, "sales.other")
        broken = (
            Violation("a.minimum", "a", 3, (), Severity.ERROR, "3 rows break it."),
            Violation("small", None, None, (), Severity.WARNING, "Für the table it is 7."),
        )
        made = [
            Candidate(version.id, f"candidate-{n}", n, n - 1, PRINCIPAL, later(n), later(n + 5), 2, broken)
            for n in (1, 2, 3)
        ]
        elsewhere = replace(made[0], dataset_version_id=other.id, expires_at=later(9))
        with store.write() as tx:
            for one in (*made, elsewhere):
                tx.candidates.insert(one)
            assert tx.candidates.of(version.id) == made[::-1]
            assert tx.candidates.due(later(7), 10) == made[:2]
            assert tx.candidates.due(later(7), 1) == made[:1]
            tx.candidates.drop(version.id, "candidate-1")
            tx.candidates.published(version.id, [2, 7])
            assert (tx.candidates.of(version.id), tx.candidates.of(other.id)) == (made[2:], [elsewhere])

    def test_partials_are_kept_of_the_newest_snapshot(self, store: MetadataStore) -> None:
        (_, version), (_, other) = stored_dataset(store), stored_dataset(store, "sales.other")
        kept = KeptPartials(version.id, 2**62, 3, {"a": 10**38 - 1, "b": None, "c": -7})
        moved = IcebergSnapshot(5, None, 4, 0, "", {}, None)
        with store.write() as tx:
            tx.contracts.keep_partials(replace(kept, numbers={"d": 1}))
            tx.contracts.keep_partials(kept)
            tx.contracts.move_partials(version.id, 1, moved)
            tx.contracts.move_partials(other.id, 2**62, moved)
        with store.write() as tx:
            assert (tx.contracts.partials(version.id), tx.contracts.partials(other.id)) == (kept, None)
            tx.contracts.move_partials(version.id, 2**62, moved)
            assert tx.contracts.partials(version.id) == replace(kept, snapshot_id=5, sequence_number=4)

    def test_proposals_are_found_by_those_they_wait_for(self, store: MetadataStore) -> None:
        made = []
        everything = frozenset(Privilege)
        for number, name in enumerate(("sales.orders", "sales.gone", "sales.secret")):
            dataset, version = stored_dataset(store, name)
            asked = (AskedConsumer("team:bi", ()), AskedConsumer("x", ()), AskedConsumer("user:y", (), "user:y", NOW))
            made.append(
                ContractProposal(
                    UUID(int=9 - number), version.id, 1, "", "why", PRINCIPAL, later(number), None, None,
                    ProposalState.OPEN, asked,
                )
            )  # fmt: skip
            with store.write() as tx:
                tx.contract_proposals.insert(made[-1])
                if name == "sales.gone":
                    tx.datasets.update(replace(dataset, deleted_at=NOW))
        first, _, third = made

        def found(*principals: str, seen: frozenset[Privilege] = everything, before: UUID | None = None) -> list[str]:
            viewer = Viewer(frozenset(principals), NOW, seen, ()) if principals else None
            with store.read() as tx:
                return [one.dataset for one in tx.contract_proposals.awaiting(viewer, before, 10)]

        assert found() == found("user:x") == found("team:bi", "user:z") == ["sales.secret_v1", "sales.orders_v1"]
        assert found("user:x", before=third.id) == ["sales.orders_v1"]
        assert found("user:y") == found("user:x", seen=frozenset()) == []
        with store.write() as tx:
            tx.contract_proposals.put(acknowledged(first, {"x": ""}, "user:x", NOW, ""))
            tx.contract_proposals.void(third.dataset_version_id, PRINCIPAL, NOW, "It was revised.")
        assert (found("user:x"), found("team:bi")) == ([], ["sales.orders_v1"])

    def test_dataset_versions_are_watched_until_time_alone_changes_nothing(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.other")
        with store.write() as tx:
            tx.service_levels.look_again(version.id)
            assert tx.service_levels.get(version.id) is None
            for watched in (version, other):
                tx.service_levels.watch(watched.id, NOW)
            assert sorted(tx.service_levels.due(NOW, 10)) == sorted([version.id, other.id])
            late = ServiceLevelWatch(version.id, FreshnessState.LATE, "2026-01-01", NOW, NOW, later(5), 1)
            tx.service_levels.put(late)
            tx.service_levels.put(replace(late, dataset_version_id=other.id, look_at=None))
        with store.write() as tx:
            assert tx.service_levels.lock(version.id) == tx.service_levels.get(version.id) == late
            assert tx.service_levels.counts() == {FreshnessState.LATE: 2}
            assert tx.service_levels.due(NOW, 10) == []
            assert tx.service_levels.due(later(5), 10) == [version.id]
            tx.service_levels.watch(other.id, later(1))
            assert tx.service_levels.due(NOW, 10) == [other.id]
            assert tx.service_levels.get(other.id) == replace(tx.service_levels.get(other.id) or late, since=NOW)
