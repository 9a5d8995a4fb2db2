"""What search in a metadata store must find, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace

import pytest

from cordillera.errors import InvalidInputError
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.catalog import Column, Facet, Lifecycle
from cordillera.testing.metadata_samples import NOW, add_dataset, columns, dataset_version, namespace

_TEXTS_THAT_MEAN_SOMETHING_ELSEWHERE = [
    '"', "'", "\\", "*", "(", ")", ":", "^", "-", "+", "a:*", '"a" OR', "a AND", "NOT", "NEAR(", "NEAR/2", "a & b",
    "a | !b", "words:flights", "'; DROP TABLE datasets; --", "%", "_", "<->", "a <-> b", "\x00", "a\x00b", "\ud800",
    "🏔", "½", "{a b}", "[a]", "a.b.c", "$1", ":wanted", "%(wanted)s", "é" * 3000, "word " * 5000,
]  # fmt: skip


class SearchSuite:
    """Full-text search over datasets."""

    @pytest.fixture
    def flights(self, store: MetadataStore) -> MetadataStore:
        """Return the store with a few datasets to search for."""
        airport = [
            Column(1, 0, "faa", "string", True, "Code of the FAA"),
            Column(2, 1, "tz_name", "string", False, "Olson time zone"),
        ]
        flight = [
            Column(1, 0, "tail_number", "string", True, ""),
            Column(2, 1, "dep_delay", "double", False, "Departure delay in minutes"),
        ]
        with store.write() as tx:
            add_dataset(
                tx,
                "travel.flights",
                flight,
                description="Every departure from New York.",
                tags=("gold",),
                owner="team:ops",
            )
            add_dataset(tx, "travel.airports", airport, description="Airports of the world.", tags=(), owner="team:ref")
            add_dataset(
                tx, "travel.daily_delays", [], description="Delays a day.", tags=("gold", "sum"), owner="team:ops"
            )
            add_dataset(tx, "sales.orders", columns("id"), description="Bestellungen über Köln", tags=("pii",))
        return store

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("flights", ["travel.flights"]),
            ("FLIGHTS", ["travel.flights"]),
            ("fli", ["travel.flights"]),
            ("light", []),
            ("delay", ["travel.daily_delays", "travel.flights"]),
            ("daily delays", ["travel.daily_delays"]),
            ("delays dai", ["travel.daily_delays"]),
            ("dai delays", []),  # only the last word may be a beginning
            ("dep_delay", ["travel.flights"]),
            ("travel.fl", ["travel.flights"]),
            ("travel", ["travel.airports", "travel.daily_delays", "travel.flights"]),
            ("minutes york", ["travel.flights"]),
            ("olson zo", ["travel.airports"]),
            ("gold", ["travel.daily_delays", "travel.flights"]),
            ("koln uber", ["sales.orders"]),
            ("KÖLN", ["sales.orders"]),
            ("köln", ["sales.orders"]),
            ("flights koln", []),
            ("  ", ["sales.orders", "travel.airports", "travel.daily_delays", "travel.flights"]),
        ],
    )
    def test_all_words_have_to_match(self, flights: MetadataStore, text: str, found: list[str]) -> None:
        with flights.read() as tx:
            result = tx.search.search(text, {}, "", 10)
        assert [hit.dataset.full_name for hit in result.hits] == found
        assert result.total == len(found)
        assert result.next_page is None

    @pytest.mark.parametrize(
        ("text", "name", "matched"),
        [
            ("flights", "travel.flights", "name: travel.flights"),
            ("minutes", "travel.flights", "column dep_delay: Departure delay in minutes"),
            ("tail", "travel.flights", "column tail_number"),
            ("pii", "sales.orders", "tag: pii"),
            ("koln", "sales.orders", "description: Bestellungen über Köln"),
            ("flights minutes", "travel.flights", "name: travel.flights; column dep_delay: Departure delay in minutes"),
            ("", "sales.orders", ""),
        ],
    )
    def test_a_hit_says_where_it_matched(self, flights: MetadataStore, text: str, name: str, matched: str) -> None:
        with flights.read() as tx:
            hits = {hit.dataset.full_name: hit for hit in tx.search.search(text, {}, "", 10).hits}
        assert hits[name].matched == matched

    def test_a_long_text_is_shown_around_the_match(self, store: MetadataStore) -> None:
        text = "Lorem ipsum dolor. " * 50 + "The needle is here. " + "Sit amet. " * 50
        with store.write() as tx:
            add_dataset(tx, description=text)
            hit = tx.search.search("need", {}, "", 1).hits[0]
        assert "The needle is here." in hit.matched
        assert len(hit.matched) < 160

    @pytest.mark.parametrize("text", _TEXTS_THAT_MEAN_SOMETHING_ELSEWHERE)
    def test_no_text_is_read_as_a_query(self, flights: MetadataStore, text: str) -> None:
        with flights.read() as tx:
            result = tx.search.search(text, {}, "", 10)
            assert tx.datasets.count() == 4
        assert result.total == len(result.hits)

    @pytest.mark.parametrize("value", ["' OR 1=1 --", "%", "", "travel' ", "TRAVEL"])
    def test_no_filter_is_read_as_a_query(self, flights: MetadataStore, value: str) -> None:
        with flights.read() as tx:
            for name in ("namespace", "owner", "tag", "lifecycle"):
                assert tx.search.search("", {name: value}, "", 10).total == 0
            assert tx.search.search("", {}, value, 10).total == 4

    def test_filters_narrow_the_result(self, flights: MetadataStore) -> None:
        with flights.read() as tx:

            def names(text: str, **filters: str) -> list[str]:
                return [hit.dataset.name for hit in tx.search.search(text, filters, "", 10).hits]

            assert names("", namespace="travel") == ["airports", "daily_delays", "flights"]
            assert names("", owner="team:ops", tag="sum") == ["daily_delays"]
            assert names("delay", tag="gold", lifecycle="active") == ["daily_delays", "flights"]
            assert names("delay", tag="pii") == []
            with pytest.raises(InvalidInputError, match="colour"):
                names("", colour="red")

    def test_facets_count_within_the_result(self, flights: MetadataStore) -> None:
        with flights.read() as tx:
            result = tx.search.search("travel", {"owner": "team:ops"}, "", 1)
            nothing = tx.search.search("nothing", {}, "", 9)
        assert result.total == 2
        assert result.facets == (
            Facet("namespace", "travel", 2),
            Facet("owner", "team:ops", 2),
            Facet("tag", "gold", 2),
            Facet("tag", "sum", 1),
            Facet("lifecycle", "active", 2),
        )
        assert nothing.facets == ()

    def test_pages_follow_each_other(self, flights: MetadataStore) -> None:
        found, after = [], ""
        with flights.read() as tx:
            while True:
                result = tx.search.search("", {}, after, 3)
                found += [hit.dataset.full_name for hit in result.hits]
                assert result.total == 4
                if result.next_page is None:
                    break
                after = result.next_page
        assert found == ["sales.orders", "travel.airports", "travel.daily_delays", "travel.flights"]

    @pytest.mark.parametrize("limit", [1, 2, 10])
    def test_datasets_that_are_called_so_go_first(self, flights: MetadataStore, limit: int) -> None:
        with flights.write() as tx:
            add_dataset(tx, "a.carriers", columns("id"), description="They fly flights, as in travel.flights.")
            add_dataset(tx, "a.preflights", columns("flights_id"))
            add_dataset(tx, "flights.b_c", columns("id"))
        for text, found in (
            ("flights", ["flights.b_c", "travel.flights", "a.carriers", "a.preflights"]),
            ("travel fl", ["travel.flights", "a.carriers"]),
            ("b_c", ["flights.b_c"]),
        ):
            names, after = [], ""
            with flights.read() as tx:
                while True:
                    page = tx.search.search(text, {}, after, limit)
                    names += [hit.dataset.full_name for hit in page.hits]
                    if page.next_page is None:
                        break
                    after = page.next_page
            assert names == found

    def test_the_active_dataset_version_is_shown_else_the_newest(self, store: MetadataStore) -> None:
        with store.write() as tx:
            made, first = add_dataset(tx)
            second = dataset_version(made.id, 2, lifecycle=Lifecycle.UNRELEASED)
            tx.dataset_versions.insert(second, [])

            def shown() -> tuple[int, str]:
                result = tx.search.search("orders", {}, "", 1)
                lifecycles = [facet.value for facet in result.facets if facet.name == "lifecycle"]
                assert lifecycles == [result.hits[0].version.lifecycle]
                return result.hits[0].version.number, lifecycles[0]

            assert shown() == (1, "active")
            tx.dataset_versions.set_lifecycle(first.id, Lifecycle.DEPRECATED, NOW)
            assert shown() == (2, "unreleased")
            tx.dataset_versions.set_lifecycle(second.id, Lifecycle.ACTIVE, NOW)
            assert shown() == (2, "active")
            tx.dataset_versions.set_lifecycle(first.id, Lifecycle.RETIRED, NOW)
            assert shown() == (2, "active")
            assert tx.search.search("", {"lifecycle": "retired"}, "", 9).total == 0

    def test_a_dataset_without_a_dataset_version_is_not_found_yet(self, store: MetadataStore) -> None:
        with store.write() as tx:
            tx.namespaces.insert(namespace("new"))
            made, _ = add_dataset(tx)
            bare = replace(made, id=namespace().id, namespace="new")
            tx.datasets.insert(bare)
            tx.search.index(bare, [])
            assert tx.search.search("new", {}, "", 9).total == 0
            tx.dataset_versions.insert(dataset_version(bare.id), [])
            assert [hit.dataset for hit in tx.search.search("new", {}, "", 9).hits] == [bare]

    def test_indexing_again_replaces_what_was_there(self, flights: MetadataStore) -> None:
        with flights.write() as tx:
            made = tx.datasets.get("sales", "orders")
            assert made is not None
            changed = replace(made, description="Purchases", tags=("silver",), owner="team:new")
            tx.datasets.update(changed)
            tx.search.index(changed, columns("amount"))
            assert tx.search.search("köln", {}, "", 9).total == 0
            assert tx.search.search("", {"tag": "pii"}, "", 9).total == 0
            assert [hit.dataset for hit in tx.search.search("purch", {"tag": "silver"}, "", 9).hits] == [changed]
            assert tx.search.search("amount", {"owner": "team:new"}, "", 9).total == 1

    def test_deleted_datasets_are_not_found(self, flights: MetadataStore) -> None:
        with flights.write() as tx:
            made = tx.datasets.get("sales", "orders")
            assert made is not None
            tx.search.remove(made.id)
            tx.search.remove(made.id)
            assert tx.search.search("orders", {}, "", 9).total == 0
            tx.search.index(made, [])
            assert tx.search.search("orders", {}, "", 9).total == 1
            tx.datasets.update(replace(made, deleted_at=NOW, purge_after=NOW))
            assert tx.search.search("orders", {}, "", 9).total == 0

    def test_very_wide_datasets_are_found_by_their_first_columns(self, store: MetadataStore) -> None:
        wide = columns(*(f"measure_{number:05}_{'x' * 50}" for number in range(10_000)), doc="Größe in Metern")
        with store.write() as tx:
            add_dataset(tx, "sales.wide", wide)
            assert tx.search.search("measure 00007", {}, "", 9).total == 1
            assert tx.search.search("wide gold", {}, "", 9).total == 1
