"""What a metadata store must do with views, and with names that datasets and views share, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from cordillera.errors import AlreadyExistsError, NamespaceNotFoundError, NotEmptyError
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.catalog import Dataset, View
from cordillera.testing.metadata_samples import NOW, add_dataset, dataset, later, namespace, stored_dataset, view


def _insert_view(name: str, tx: Transaction) -> None:
    tx.views.insert(view(name))


def _insert_dataset(name: str, tx: Transaction) -> None:
    tx.datasets.insert(dataset(name))


class ViewSuite:
    """Views, and names."""

    def test_views_are_kept_by_name(self, store: MetadataStore) -> None:
        made = [view(name) for name in ("sales.b", "sales.a", "sales_eu.a", "sales.a_1")]
        with store.write() as tx:
            tx.namespaces.insert(namespace())
            tx.namespaces.insert(namespace("sales_eu"))
            for one in made:
                tx.views.insert(one)
            assert tx.views.get("sales", "a", lock=True) == made[1]
            assert tx.views.get("sales", "none", lock=True) is None
        with store.read() as tx:
            assert tx.views.get("sales", "b") == made[0]
            assert tx.views.get("sales", "c") is None
            assert tx.views.get_by_id(made[2].id) == made[2]
            assert [one.full_name for one in tx.views.page(None, "", 9)] == [
                "sales.a", "sales.a_1", "sales.b", "sales_eu.a",
            ]  # fmt: skip
            assert [one.full_name for one in tx.views.page("sales", "sales.a", 1)] == ["sales.a_1"]
            assert tx.views.page("sale", "", 9) == []

    def test_a_view_is_swapped_renamed_and_removed(self, store: MetadataStore) -> None:
        made = view()
        changed = replace(made, metadata_location="new", updated_at=later(1))
        with store.write() as tx:
            tx.namespaces.insert(namespace())
            tx.namespaces.insert(namespace("other"))
            tx.views.insert(made)
            assert not tx.views.swap(changed, expected_location="another")
            assert tx.views.swap(changed, expected_location=made.metadata_location)
            assert tx.views.get("sales", "open_orders") == changed
            renamed = replace(changed, namespace="other", name="open")
            tx.views.rename(renamed)
            tx.views.rename(renamed)
            with pytest.raises(NamespaceNotFoundError, match="nowhere"):
                tx.views.rename(replace(renamed, namespace="nowhere"))
            with pytest.raises(NotEmptyError, match="views"):
                tx.namespaces.delete("other")
        with store.write() as tx:
            assert (tx.views.get("other", "open"), tx.views.get("sales", "open_orders")) == (renamed, None)
            tx.views.delete(made.id)
            assert tx.views.get("other", "open") is None
            tx.namespaces.delete("other")

    def test_a_name_is_a_dataset_s_or_a_view_s(self, store: MetadataStore) -> None:
        made, _ = stored_dataset(store)
        one, other = view("sales.open"), view("sales.closed")
        with store.write() as tx:
            with pytest.raises(AlreadyExistsError, match=r"dataset sales\.orders"):
                tx.views.insert(view("sales.orders"))
            tx.views.insert(one)
            tx.views.insert(other)
            with pytest.raises(AlreadyExistsError, match=r"view sales\.open"):
                tx.views.insert(view("sales.open"))
            with pytest.raises(AlreadyExistsError, match=r"view sales\.open"):
                tx.datasets.insert(dataset("sales.open"))
            with pytest.raises(AlreadyExistsError, match=r"view sales\.open"):
                tx.datasets.update(replace(made, name="open"))
            with pytest.raises(AlreadyExistsError, match=r"view sales\.closed"):
                tx.views.rename(replace(one, name="closed"))
            with pytest.raises(AlreadyExistsError, match=r"dataset sales\.orders"):
                tx.views.rename(replace(one, name="orders"))
        with store.write() as tx:
            assert tx.datasets.get("sales", "orders") == made
            assert [found.full_name for found in tx.views.page("sales", "", 9)] == ["sales.closed", "sales.open"]

    def test_a_name_is_free_when_its_owner_goes(self, store: MetadataStore) -> None:
        made, _ = stored_dataset(store)
        taker = view("sales.orders")
        with store.write() as tx:
            tx.datasets.update(replace(made, deleted_at=NOW, purge_after=later(60)))
            tx.views.insert(taker)
            with pytest.raises(AlreadyExistsError, match=r"view sales\.orders"):
                tx.datasets.update(made)  # it comes back too late
            tx.views.delete(taker.id)
            tx.datasets.update(made)
            with pytest.raises(AlreadyExistsError, match=r"dataset sales\.orders"):
                tx.views.insert(taker)
            tx.datasets.purge(made.id)
            tx.views.insert(taker)
            tx.views.rename(replace(taker, name="bought"))
            add_dataset(tx, "sales.orders")

    def test_of_a_dataset_and_a_view_of_one_name_one_wins(self, store: MetadataStore) -> None:
        with store.write() as tx:
            tx.namespaces.insert(namespace())

        def attempt(insert: Callable[[Transaction], None]) -> bool:
            try:
                with store.write() as tx:
                    insert(tx)
            except AlreadyExistsError:
                return False
            return True

        for number in range(5):
            name = f"sales.n{number}"
            makers: list[Callable[[Transaction], None]] = [
                partial(_insert_view, name),
                partial(_insert_dataset, name),
            ] * 3
            with ThreadPoolExecutor(len(makers)) as threads:
                assert sum(threads.map(attempt, makers)) == 1
        with store.read() as tx:
            assert tx.datasets.count() + len(tx.views.page(None, "", 99)) == 5

    def test_of_a_rename_and_a_creation_one_wins(self, store: MetadataStore) -> None:
        for number in range(5):
            made, one, name = dataset(f"sales.d{number}"), view(f"sales.v{number}"), f"n{number}"
            with store.write() as tx:
                if number == 0:
                    tx.namespaces.insert(namespace())
                tx.datasets.insert(made)
                tx.views.insert(one)

            def attempt(rename: bool, one: View = one, made: Dataset = made, name: str = name) -> bool:
                try:
                    with store.write() as tx:
                        if rename:
                            tx.views.rename(replace(one, name=name))
                        else:
                            tx.datasets.update(replace(made, name=name))
                except AlreadyExistsError:
                    return False
                return True

            with ThreadPoolExecutor(2) as threads:
                assert sorted(threads.map(attempt, [True, False])) == [False, True]
