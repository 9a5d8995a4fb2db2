"""The tags that datasets are found by are those that count for them, whatever has happened before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.adapters.db.schema import datasets, tag_sets
from cordillera.adapters.db.store import SqlMetadataStore, SqlTransaction
from cordillera.errors import MetadataStoreBusyError
from cordillera.spec.access import PolicyTag, SecurableKind
from cordillera.spec.catalog import Dataset
from cordillera.spec.names import enclosing_names
from cordillera.testing.metadata_samples import NOW, dataset, namespace
from tests.adapters.db.tagged import stored_tags
from tests.examples import examples

SPACES = ("a", "a.b", "a.b.c", "d")
DATASETS = range(3)
places, numbers = st.sampled_from(SPACES), st.sampled_from(DATASETS)
tagged = st.one_of(places, numbers)
steps = st.one_of(
    st.tuples(st.just("make"), numbers, places),
    st.tuples(st.just("move"), numbers, places),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("restore"), numbers),
    st.tuples(st.just("purge"), numbers),
    st.tuples(st.just("tag"), tagged, st.sampled_from(["level", "zone"]), st.sampled_from(["low", "high"])),
    st.tuples(st.just("untag"), tagged, st.sampled_from(["level", "zone"])),
)


class UndoneError(Exception):
    """Ends a transaction whose changes are to be forgotten."""


@contextmanager
def forgotten(store: SqlMetadataStore) -> Iterator[SqlTransaction]:
    """Open a transaction that leaves nothing behind."""
    with suppress(UndoneError), store.write() as tx:
        assert isinstance(tx, SqlTransaction)
        yield tx
        raise UndoneError


class History:
    """Does the same to a lake and to a model of it: who has which tags of its own, and where datasets are."""

    def __init__(self, tx: SqlTransaction) -> None:
        self.tx = tx
        self.spaces: dict[str, UUID] = {}
        self.made: dict[int, Dataset] = {}
        self.own: dict[str | int, dict[str, str]] = {}
        for name in SPACES:
            self.spaces[name] = uuid4()
            tx.namespaces.insert(replace(namespace(name), id=self.spaces[name]))

    def make(self, number: int, space: str) -> None:
        if number not in self.made:
            self.made[number] = dataset(f"{space}.set{number}")
            self.tx.datasets.insert(self.made[number])

    def move(self, number: int, space: str) -> None:
        self._change(number, namespace=space)

    def delete(self, number: int) -> None:
        self._change(number, deleted_at=NOW, purge_after=NOW)

    def restore(self, number: int) -> None:
        self._change(number, deleted_at=None, purge_after=None)

    def purge(self, number: int) -> None:
        if number in self.made:
            self.tx.datasets.purge(self.made.pop(number).id)
            self.own.pop(number, None)

    def tag(self, on: str | int, name: str, value: str) -> None:
        if on in self.spaces or on in self.made:
            self.own.setdefault(on, {})[name] = value
            self.tx.policy_tags.put(PolicyTag(*self._object(on), "", "", name, value, "", NOW))

    def untag(self, on: str | int, name: str) -> None:
        if on in self.spaces or on in self.made:
            had = self.own.get(on, {}).pop(name, None) is not None
            kind, securable_id = self._object(on)
            assert self.tx.policy_tags.delete(kind, securable_id, "", name) is had

    def counting(self) -> dict[str, dict[str, str]]:
        """Return the tags that count for each dataset: the nearest of each name."""
        found = {}
        for number, one in self.made.items():
            levels = [number, *enclosing_names(one.namespace)]
            names = {name for level in levels for name in self.own.get(level, {})}
            nearest = {name: next(self.own[at] for at in levels if name in self.own.get(at, {})) for name in names}
            found[one.full_name] = {name: tags[name] for name, tags in nearest.items()}
        return found

    def _object(self, on: str | int) -> tuple[SecurableKind, UUID]:
        if isinstance(on, str):
            return SecurableKind.NAMESPACE, self.spaces[on]
        return SecurableKind.DATASET, self.made[on].id

    def _change(self, number: int, **changes: Any) -> None:
        if number in self.made:
            self.made[number] = replace(self.made[number], **changes)
            self.tx.datasets.update(self.made[number])


@pytest.mark.parametrize(("database", "most"), [("sqlite_url", 25), ("shared_postgres_url", 5)])
def test_datasets_are_found_by_the_tags_that_count_for_them(
    database: str, most: int, request: pytest.FixtureRequest
) -> None:
    store = SqlMetadataStore(request.getfixturevalue(database))

    @settings(max_examples=examples(most), deadline=None)
    @given(done=st.lists(steps, min_size=8, max_size=20))
    def found_after(done: list[tuple[object, ...]]) -> None:
        with forgotten(store) as tx:
            history = History(tx)
            for what, *how in done:
                getattr(history, str(what))(*how)
                assert stored_tags(tx, history.made.values()) == history.counting()
            history.tag("d", "level", "looked at")  # what no dataset has any more goes with the next change of a tag
            used = sa.select(datasets.c.id).where(datasets.c.tag_set == tag_sets.c.id).exists()
            assert tx.session.read(sa.select(tag_sets.c.id).where(~used)) == []

    found_after()
    store.close()


def test_a_tag_waits_for_datasets_that_are_being_made_and_they_for_it(own_postgres_url: str) -> None:
    store = SqlMetadataStore(own_postgres_url)
    space = namespace()
    with store.write() as tx:
        tx.namespaces.insert(space)
    tag = PolicyTag(SecurableKind.NAMESPACE, space.id, "", "", "level", "low", "", NOW)

    def impatient(tx: SqlTransaction) -> SqlTransaction:
        tx.session.write(sa.text("SET LOCAL lock_timeout = '10ms'"))
        return tx

    with store.write() as making:
        making.datasets.insert(dataset("sales.first"))
        with pytest.raises(MetadataStoreBusyError), store.write() as tagging:
            impatient(tagging).policy_tags.put(tag)
        with store.write() as besides:
            impatient(besides).datasets.insert(dataset("sales.second"))
    with store.write() as tagging:
        tagging.policy_tags.put(tag)
        with pytest.raises(MetadataStoreBusyError), store.write() as making:
            impatient(making).datasets.insert(dataset("sales.third"))
    with store.write() as making:
        made = [dataset(f"sales.{name}") for name in ("first", "second", "third")]
        making.datasets.insert(made[2])
        assert stored_tags(making, made) == {one.full_name: {"level": "low"} for one in made}
    store.close()
