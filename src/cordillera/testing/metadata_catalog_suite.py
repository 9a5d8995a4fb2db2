"""What a metadata store must do with namespaces, datasets, dataset versions and snapshots, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from cordillera.errors import AlreadyExistsError, DatasetNotFoundError, NamespaceNotFoundError, NotEmptyError
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.metadata.catalog import CommitReceipt
from cordillera.ports.metadata.contracts import ContractDocument
from cordillera.spec.access import PolicyTag, SecurableKind
from cordillera.spec.catalog import Lifecycle
from cordillera.spec.completion import Completion
from cordillera.spec.lineage import Edge, Node, NodeKind
from cordillera.spec.manifest import TableOperation
from cordillera.testing.metadata_samples import (
    NOW,
    PRINCIPAL,
    add_dataset,
    columns,
    dataset,
    dataset_version,
    job,
    later,
    manifest,
    namespace,
    snapshot,
    stored_dataset,
    subscription,
    target,
)


class CatalogSuite:
    """Namespaces, datasets, dataset versions and snapshots."""

    # --- namespaces -------------------------------------------------------------------------------------------------

    def test_namespaces_are_kept_by_name(self, store: MetadataStore) -> None:
        spaces = [namespace(name) for name in ("b_2", "a", "b", "b2")]
        with store.write() as tx:
            for space in spaces:
                tx.namespaces.insert(space)
        with store.read() as tx:
            assert tx.namespaces.get("b") == spaces[2]
            assert tx.namespaces.get("c") is None
            assert [space.name for space in tx.namespaces.page("", 10)] == ["a", "b", "b2", "b_2"]
            assert [space.name for space in tx.namespaces.page("a", 2)] == ["b", "b2"]

    def test_a_namespace_has_one_name(self, store: MetadataStore) -> None:
        with store.write() as tx:
            tx.namespaces.insert(namespace())
            with pytest.raises(AlreadyExistsError, match="sales"):
                tx.namespaces.insert(namespace())
            found = tx.namespaces.get("sales", lock=True)  # the transaction goes on
            assert found is not None
            changed = replace(found, owner="team:new", description="Changed", properties={"a": "ä", "b": ""})
            tx.namespaces.update(changed)
        with store.read() as tx:
            assert tx.namespaces.get("sales") == changed

    def test_a_namespace_with_datasets_stays(self, store: MetadataStore) -> None:
        made, _ = stored_dataset(store)
        with store.write() as tx:
            tx.datasets.update(replace(made, deleted_at=NOW, purge_after=later(60)))
            with pytest.raises(NotEmptyError, match="sales"):
                tx.namespaces.delete("sales")
        with store.write() as tx:
            tx.datasets.purge(made.id)
            tx.namespaces.delete("sales")
            tx.namespaces.delete("never")
            assert tx.namespaces.get("sales") is None

    # --- datasets ---------------------------------------------------------------------------------------------------

    def test_a_dataset_is_found_by_name_and_id(self, store: MetadataStore) -> None:
        made, _ = stored_dataset(store)
        with store.read() as tx:
            assert tx.datasets.get("sales", "orders") == made
            assert tx.datasets.get_by_id(made.id) == made
            assert tx.datasets.get("sales", "order") is None
            assert tx.datasets.get_by_id(uuid4()) is None
            assert tx.datasets.count() == 1

    def test_a_dataset_needs_its_namespace_and_a_free_name(self, store: MetadataStore) -> None:
        with store.write() as tx:
            with pytest.raises(NamespaceNotFoundError, match="sales"):
                tx.datasets.insert(dataset())
            add_dataset(tx)
            with pytest.raises(AlreadyExistsError, match=r"sales\.orders"):
                tx.datasets.insert(dataset())
            other, _ = add_dataset(tx, "sales.customers")
            with pytest.raises(AlreadyExistsError, match=r"sales\.orders"):
                tx.datasets.update(replace(other, name="orders"))
        with store.read() as tx:
            assert tx.datasets.get("sales", "customers") == other
            assert tx.datasets.count() == 2

    def test_a_dataset_moves_to_another_namespace(self, store: MetadataStore) -> None:
        made, _ = stored_dataset(store)
        moved = replace(made, namespace="other", name="bought")
        with store.write() as tx:
            tx.namespaces.insert(namespace("other"))
            assert tx.datasets.lock("sales", "orders") == made
            assert tx.datasets.lock("sales", "none") is None
            tx.datasets.update(moved)
            with pytest.raises(NamespaceNotFoundError, match="nowhere"):
                tx.datasets.update(replace(made, namespace="nowhere"))
            tx.jobs.insert(replace(job("sales.copy"), inputs=("other.bought",), output="sales.copied"))
        with store.read() as tx:
            assert (tx.datasets.get("other", "bought"), tx.datasets.get("sales", "orders")) == (moved, None)
            assert [tx.jobs.naming(name, 9) for name in ("other.bought", "sales.copied", "sales.orders")] == [
                ["sales.copy"],
                ["sales.copy"],
                [],
            ]

    @pytest.mark.parametrize("on", ["dataset", "column", "namespace"])
    def test_a_tag_is_found_by_name_on_a_dataset_and_around_it(self, store: MetadataStore, on: str) -> None:
        made, _ = stored_dataset(store)
        with store.write() as tx:
            tx.namespaces.insert(namespace("other"))
            inside = tx.namespaces.get(made.namespace)
            assert inside is not None
            of = (SecurableKind.NAMESPACE, inside.id) if on == "namespace" else (SecurableKind.DATASET, made.id)
            tx.policy_tags.put(PolicyTag(*of, "", "amount" if on == "column" else "", "residency", "eu", "ada", NOW))
        with store.read() as tx:
            assert tx.policy_tags.any_named("residency", made.id, ["sales", "other"])
            assert not tx.policy_tags.any_named("level", made.id, ["sales"])
            assert tx.policy_tags.any_named("residency", made.id, ["other"]) == (on != "namespace")
            assert tx.policy_tags.any_named("residency", uuid4(), ["sales"]) == (on == "namespace")

    def test_datasets_are_listed_by_full_name(self, store: MetadataStore) -> None:
        names = ["sales.a", "sales.b", "sales.b2", "sales_eu.a", "sale.z", "sales.a_1"]
        with store.write() as tx:
            for name in names:
                add_dataset(tx, name)
        with store.read() as tx:
            assert [found.full_name for found in tx.datasets.page(None, "", 10)] == sorted(names)
            assert [found.full_name for found in tx.datasets.page(None, "sales.a", 2)] == ["sales.a_1", "sales.b"]
            assert [found.full_name for found in tx.datasets.page("sales", "sales.a_1", 9)] == ["sales.b", "sales.b2"]
            assert [found.full_name for found in tx.datasets.page("sale", "", 9)] == ["sale.z"]
            assert tx.datasets.page("sal", "", 9) == []

    def test_a_dataset_is_stored_anew(self, store: MetadataStore) -> None:
        made, _ = stored_dataset(store)
        changed = replace(made, name="bookings", owner="team:b", description="", tags=(), updated_at=later(1))
        with store.write() as tx:
            tx.datasets.update(changed)
            assert tx.datasets.get("sales", "bookings") == changed
            assert tx.datasets.get("sales", "orders") is None

    def test_the_name_of_a_deleted_dataset_is_free(self, store: MetadataStore) -> None:
        first, _ = stored_dataset(store)
        gone = replace(first, deleted_at=later(1), purge_after=later(10))
        with store.write() as tx:
            tx.datasets.update(gone)
            assert tx.datasets.get("sales", "orders") is None
            assert tx.datasets.with_versions("sales", "orders") == (None, [])
            assert tx.datasets.get_by_id(first.id) == gone
            assert tx.datasets.count() == 0
            second, _ = add_dataset(tx)
            assert tx.datasets.page(None, "", 9) == [second]
            assert tx.datasets.page("sales", "", 9, deleted=True) == [gone]
            with pytest.raises(AlreadyExistsError):
                tx.datasets.update(first)
            assert tx.datasets.due_for_purge(later(9), 9) == []
            assert tx.datasets.due_for_purge(later(10), 9) == [gone]

    def test_of_deleted_datasets_of_a_name_the_newest_is_found(self, store: MetadataStore) -> None:
        with store.write() as tx:
            for name, minutes in (("sales.a", 5), ("sales.b", 1), ("sales.b", 3), ("sales.b", 2)):
                made, _ = add_dataset(tx, name)
                tx.datasets.update(replace(made, deleted_at=later(minutes), purge_after=later(60)))
            live, _ = add_dataset(tx, "sales.b")
            found = tx.datasets.deleted_last("sales", "b")
            assert found is not None
            assert (found.deleted_at, found.id != live.id) == (later(3), True)
            assert tx.datasets.deleted_last("sales", "c") is None

    def test_pages_of_deleted_datasets_lose_none_that_share_a_name(self, store: MetadataStore) -> None:
        with store.write() as tx:
            for name in ("sales.a", "sales.b", "sales.b", "sales.b", "sales.c"):
                made, _ = add_dataset(tx, name)
                tx.datasets.update(replace(made, deleted_at=NOW, purge_after=NOW))
            found, after = [], ""
            while page := tx.datasets.page(None, after, 2, deleted=True):
                found += page
                after = page[-1].full_name
        assert [made.name for made in found] == ["a", "b", "b", "b", "c"]
        assert len({made.id for made in found}) == 5

    def test_purging_removes_all_that_belongs_to_a_dataset(self, store: MetadataStore) -> None:
        made, version = stored_dataset(store)
        kept, _ = stored_dataset(store, "sales.kept")
        node, neighbour = Node(NodeKind.DATASET, made.full_name), Node(NodeKind.DATASET, kept.full_name)
        with store.write() as tx:
            tx.snapshots.insert(snapshot(version.id, 1), manifest())
            tx.snapshots.add_receipt(version.id, "key", CommitReceipt("hash", 1, {}), NOW)
            tx.completions.insert([Completion(version.id, "2026-03-14", 1, 1, PRINCIPAL, NOW)])
            tx.contracts.insert(ContractDocument(version.id, 1, "text", PRINCIPAL, NOW))
            tx.targets.insert(target())
            wish = subscription(made, version)
            tx.subscriptions.insert(wish)
            tx.lineage.put([Edge(node, neighbour)], NOW)
        with store.write() as tx:
            tx.datasets.purge(made.id)
            tx.datasets.purge(uuid4())
        with store.read() as tx:
            assert tx.datasets.get_by_id(made.id) is None
            assert tx.dataset_versions.get(version.id) is None
            assert tx.dataset_versions.columns(version.id) == []
            assert tx.snapshots.page(version.id, None, 9) == []
            assert tx.snapshots.manifest(version.id, 1) is None
            assert tx.snapshots.receipt(version.id, "key") is None
            assert tx.completions.latest(version.id, "2026-03-14") is None
            assert tx.completions.history(version.id, "2026-03-14") == []
            assert tx.contracts.current(version.id) is None
            assert tx.subscriptions.get(wish.id) is None
            assert tx.lineage.neighbours([node, neighbour], upstream=True, limit=9) == []
            assert [hit.dataset for hit in tx.search.search("", {}, "", 9).hits] == [kept]

    def test_purging_leaves_the_lineage_of_a_namesake(self, store: MetadataStore) -> None:
        first, _ = stored_dataset(store)
        edge = Edge(Node(NodeKind.DATASET, "sales.orders"), Node(NodeKind.JOB, "sales.daily"))
        with store.write() as tx:
            tx.datasets.update(replace(first, deleted_at=NOW, purge_after=NOW))
            add_dataset(tx)
            tx.lineage.put([edge], NOW)
            tx.datasets.purge(first.id)
            assert tx.lineage.neighbours([edge.source], upstream=False, limit=9) == [edge]

    # --- dataset versions -------------------------------------------------------------------------------------------

    def test_dataset_versions_are_kept_by_number(self, store: MetadataStore) -> None:
        made, first = stored_dataset(store)
        second = dataset_version(
            made.id, 2, lifecycle=Lifecycle.UNRELEASED, key=(), sequence_column=None, rows=2**40, bytes=2**50
        )
        names = columns("id", "Total Amount", doc="In euros – \N{EURO SIGN}")
        with store.write() as tx:
            tx.dataset_versions.insert(second, names)
            with pytest.raises(AlreadyExistsError):
                tx.dataset_versions.insert(dataset_version(made.id, 2), [])
            with pytest.raises(DatasetNotFoundError):
                tx.dataset_versions.insert(dataset_version(uuid4()), [])
            empty = dataset("sales.empty")
            tx.datasets.insert(empty)
        with store.read() as tx:
            assert tx.dataset_versions.page(made.id) == [first, second]
            assert tx.datasets.with_versions("sales", "orders") == (made, [first, second])
            assert tx.datasets.with_versions("sales", "empty") == (empty, [])
            assert tx.datasets.with_versions("sales", "order") == (None, [])
            assert tx.dataset_versions.get(second.id) == second
            assert tx.dataset_versions.get(uuid4()) is None
            assert tx.dataset_versions.columns(second.id) == names
            assert tx.dataset_versions.columns(first.id) == []

    def test_swap_stores_what_was_expected_to_be_there(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        after = replace(
            version, metadata_location="1.json", schema_id=1, sequence_number=1, rows=5, updated_at=later(1), key=("k",)
        )
        with store.write() as tx:
            assert tx.dataset_versions.swap(after, columns("k", "v"), expected_location=version.metadata_location)
            assert tx.dataset_versions.get(version.id) == after
            assert not tx.dataset_versions.swap(
                replace(after, metadata_location="2.json"), [], expected_location=version.metadata_location
            )
            assert tx.dataset_versions.get(version.id) == after
            assert tx.dataset_versions.swap(after, None, expected_location="1.json")
            assert tx.dataset_versions.columns(version.id) == columns("k", "v")

    def test_commits_are_reserved_for_one_writer(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.others")
        first, second = uuid4(), uuid4()
        with store.write() as tx:
            rows = tx.dataset_versions
            assert rows.reserved_for(version.id, NOW) is None
            assert rows.reserve(version.id, first, NOW, later(1))
            assert not rows.reserve(version.id, second, NOW, later(1))
            assert rows.reserve(other.id, second, NOW, later(1))
            assert rows.reserve(version.id, first, NOW, later(2))
            assert rows.reserved_for(version.id, later(1)) == first
            assert rows.reserved_for(version.id, later(2)) is None
            rows.release(version.id, second)
            assert not rows.reserve(version.id, second, later(1), later(3))
            assert rows.reserve(version.id, second, later(2), later(3))
            assert rows.reserved_for(version.id, later(2)) == second
            rows.release(version.id, second)
            assert rows.reserved_for(version.id, later(2)) is None
            assert rows.reserved_for(other.id, NOW) == second

    def test_swap_passes_nobody_by_for_whom_commits_are_reserved(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.others")
        mine, theirs = uuid4(), uuid4()
        after = [replace(version, metadata_location=f"{number}.json", updated_at=later(number)) for number in range(4)]
        with store.write() as tx:
            rows = tx.dataset_versions
            assert rows.reserve(version.id, theirs, NOW, later(2))
            for writer in (mine, None):
                assert not rows.swap(after[1], columns("k"), expected_location=version.metadata_location, writer=writer)
            assert rows.get(version.id) == version
            changed = replace(other, metadata_location="0.json")
            assert rows.swap(changed, None, expected_location=other.metadata_location, writer=mine)
            assert rows.swap(after[1], None, expected_location=version.metadata_location, writer=theirs)
            assert rows.swap(after[2], None, expected_location="1.json", writer=mine)  # it has ended
            assert rows.swap(after[3], None, expected_location="2.json")

    def test_swap_changes_neither_identity_nor_lifecycle(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        stale = replace(
            version, number=7, location="elsewhere", created_at=later(9), metadata_location="1.json", rows=1
        )
        with store.write() as tx:
            tx.dataset_versions.set_lifecycle(version.id, Lifecycle.DEPRECATED, later(2))
            assert tx.dataset_versions.swap(stale, None, expected_location=version.metadata_location)
            assert tx.dataset_versions.get(version.id) == replace(
                version, metadata_location="1.json", rows=1, lifecycle=Lifecycle.DEPRECATED
            )

    def test_swap_needs_the_contract_to_be_the_same(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        after = replace(version, metadata_location="1.json")
        with store.write() as tx:
            tx.contracts.insert(ContractDocument(version.id, 1, "text", "user:ana", NOW))
            assert not tx.dataset_versions.swap(after, None, expected_location=version.metadata_location)
            held = replace(after, contract_revision=1)
            assert tx.dataset_versions.swap(held, None, expected_location=version.metadata_location)
            assert tx.dataset_versions.get(version.id) == held

    # --- snapshots --------------------------------------------------------------------------------------------------

    def test_snapshots_are_found_by_number_and_time(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.other")
        made = [snapshot(version.id, number) for number in (1, 2, 5, 6)]
        foreign = replace(snapshot(other.id, 9), operation=None, properties={}, partitions=(), parent_snapshot_id=None)
        with store.write() as tx:
            for one in [*made, foreign]:
                tx.snapshots.insert(one, manifest())
            with pytest.raises(AlreadyExistsError):
                tx.snapshots.insert(made[0], manifest())
        with store.read() as tx:
            assert tx.snapshots.get(version.id, 5) == made[2]
            assert tx.snapshots.get(version.id, 3) is None
            assert tx.snapshots.page(other.id, None, 9) == [foreign]
            assert tx.snapshots.page(version.id, None, 3) == made[:0:-1]
            assert tx.snapshots.page(version.id, 5, 9) == made[1::-1]
            assert tx.snapshots.at(version.id, later(0.999999)) is None
            assert tx.snapshots.at(version.id, later(1)) == made[0]
            assert tx.snapshots.at(version.id, later(4.5)) == made[1]
            assert tx.snapshots.at(version.id, later(100)) == made[3]
            assert tx.snapshots.following(version.id, 0) == made[0]
            assert tx.snapshots.following(version.id, 2) == made[2]
            assert tx.snapshots.following(version.id, 6) is None

    def test_snapshots_of_branches_are_apart_until_published(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.other")
        branches = {1: "main", 2: "audit", 3: "main", 4: "audit", 5: "trial"}
        made = {number: snapshot(version.id, number, branch=branch) for number, branch in branches.items()}
        foreign = snapshot(other.id, 2, branch="audit")
        with store.write() as tx:
            for one in [*made.values(), foreign]:
                tx.snapshots.insert(one, manifest())
        with store.read() as tx:
            assert tx.snapshots.get(version.id, 4) == made[4]
            assert tx.snapshots.page(version.id, None, 9) == [made[3], made[1]]
            assert tx.snapshots.page(version.id, 4, 9, "audit") == [made[2]]
            assert tx.snapshots.at(version.id, later(2.5)) == made[1]
            assert tx.snapshots.following(version.id, 1) == made[3]
        with store.write() as tx:
            tx.snapshots.publish(version.id, [1, 2, 4], later(9))
            tx.snapshots.drop_branch(version.id, "trial")
        published = {number: replace(made[number], branch="main", committed_at=later(9)) for number in (2, 4)}
        with store.read() as tx:
            assert tx.snapshots.page(version.id, None, 9) == [published[4], made[3], published[2], made[1]]
            assert tx.snapshots.at(version.id, later(8)) == made[3]
            assert tx.snapshots.at(version.id, later(9)) == published[4]
            assert tx.snapshots.page(version.id, None, 9, "audit") == []
            assert tx.snapshots.get(version.id, 5) == replace(made[5], branch="")
            assert tx.snapshots.page(other.id, None, 9, "audit") == [foreign]

    def test_a_manifest_makes_the_round_trip(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        with store.write() as tx:
            tx.snapshots.insert(snapshot(version.id, 1), manifest())
            tx.snapshots.insert(snapshot(version.id, 2), replace(manifest(), operation=None, key=(), entries=()))
            assert tx.snapshots.manifest(version.id, 1) == manifest()
            assert tx.snapshots.manifest(version.id, 2) == replace(manifest(), operation=None, key=(), entries=())
            assert tx.snapshots.manifest(version.id, 3) is None

    def test_a_snapshot_may_come_from_upkeep(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        compacted = replace(snapshot(version.id, 1), operation=TableOperation.COMPACT)
        with store.write() as tx:
            tx.snapshots.insert(compacted, replace(manifest(), operation=TableOperation.COMPACT))
        with store.read() as tx:
            found = tx.snapshots.get(version.id, 1)
            assert found == compacted
            assert isinstance(found.operation, TableOperation)
            assert tx.snapshots.manifest(version.id, 1) == replace(manifest(), operation=TableOperation.COMPACT)

    def test_an_idempotency_key_has_one_receipt(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.other")
        receipt = CommitReceipt("hash", None, {"rows": {"inserted": 3}, "completed": None})
        with store.write() as tx:
            tx.snapshots.add_receipt(version.id, "key", receipt, NOW)
            tx.snapshots.add_receipt(other.id, "key", CommitReceipt("other", 2, {}), NOW)
            with pytest.raises(AlreadyExistsError, match="key"):
                tx.snapshots.add_receipt(version.id, "key", receipt, NOW)
            assert tx.snapshots.receipt(version.id, "key") == receipt
            assert tx.snapshots.receipt(version.id, "other") is None
