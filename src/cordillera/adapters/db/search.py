"""Rows of full-text search: FTS5 on SQLite, a tsvector with a GIN index on PostgreSQL, over the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import (
    dataset_columns,
    dataset_versions,
    datasets,
    search_documents,
    search_tags,
)
from cordillera.adapters.db.search_text import (
    Place,
    column_places,
    dataset_places,
    document_words,
    in_name,
    name_parts,
    query_words,
    snippet,
    uncovered,
)
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.visibility import datasets_seen
from cordillera.errors import InvalidInputError
from cordillera.spec.access import Viewer
from cordillera.spec.catalog import Column, Dataset, DatasetVersion, Facet, Lifecycle, SearchHit, SearchResult

FACETS = ("namespace", "owner", "tag", "lifecycle")
_TOTAL = "total"

_DATASET = RowMap(Dataset, datasets)
_VERSION = RowMap(DatasetVersion, dataset_versions)

_document = search_documents.c

Condition = sa.ColumnElement[bool] | sa.TextClause

_PUT_WORDS = {
    True: "INSERT INTO search_words (number, words) VALUES (:number, array_to_tsvector(CAST(:words AS text[])))",
    False: "INSERT INTO search_words (rowid, words) VALUES (:number, :words)",
}
_DROP_WORDS = {
    True: "DELETE FROM search_words WHERE number = :number",
    False: "DELETE FROM search_words WHERE rowid = :number",
}
_MATCHES = {
    True: "search_documents.number IN (SELECT number FROM search_words WHERE words @@ CAST(:wanted AS tsquery))",
    False: "search_documents.number IN (SELECT rowid FROM search_words WHERE search_words MATCH :wanted)",
}


class SqlSearchRows:
    """See :class:`cordillera.ports.metadata.catalog.SearchRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def index(self, dataset: Dataset, columns: Sequence[Column]) -> None:
        """Put a dataset into the index, in the place of what was there."""
        lock_dataset(self._session, dataset.id)
        names = sa.select(datasets.c.namespace, datasets.c.name).where(datasets.c.id == dataset.id)
        for row in self._session.read(names):
            dataset = replace(dataset, namespace=row.namespace, name=row.name)  # it may have been renamed meanwhile
        remove(self._session, dataset.id)
        if dataset.deleted_at is not None:
            return
        document = {
            "dataset_id": dataset.id,
            "full_name": dataset.full_name,
            "namespace": dataset.namespace,
            "owner": dataset.owner,
        }
        number = self._session.write_rows(sa.insert(search_documents).returning(_document.number), document)[0].number
        tags = [{"number": number, "tag": tag} for tag in sorted(set(dataset.tags))]
        if tags:
            self._session.write(sa.insert(search_tags), tags)
        found: list[str] | str = document_words(dataset, columns)
        if not self._session.is_postgres:
            found = " ".join(found)
        self._session.write(sa.text(_PUT_WORDS[self._session.is_postgres]), {"number": number, "words": found})
        choose_version(self._session, dataset.id)

    def remove(self, dataset_id: UUID) -> None:
        """Take a dataset out of the index."""
        remove(self._session, dataset_id)

    def search(
        self, text: str, filters: Mapping[str, str], after: str, limit: int, *, viewer: Viewer | None = None
    ) -> SearchResult:
        """Find datasets.

        Raises:
            InvalidInputError: If a filter names no facet.
        """
        wanted = query_words(text)
        conditions = [_document.version_id.is_not(None), *_seen(viewer), *self._conditions(wanted, filters)]
        hits = self._hits(conditions, wanted, after, limit)
        total, facets = self._facets(conditions)
        more = len(hits) > limit
        page = tuple(hits[:limit])
        return SearchResult(page, total, facets, page[-1].dataset.full_name if more and page else None)

    def _conditions(self, wanted: Sequence[str], filters: Mapping[str, str]) -> list[Condition]:
        conditions: list[Condition] = []
        if wanted:
            matches = sa.text(_MATCHES[self._session.is_postgres])
            conditions.append(matches.bindparams(wanted=self._query(wanted)))
        return conditions + [_filter(name, value) for name, value in filters.items()]

    def _query(self, wanted: Sequence[str]) -> str:
        """Return the words as the database's query; they have no character that would mean something in it."""
        if self._session.is_postgres:
            return " & ".join(f"'{word}'" for word in wanted) + ":*"
        return " AND ".join(f'"{word}"' for word in wanted) + "*"

    def _hits(self, conditions: list[Condition], wanted: Sequence[str], after: str, limit: int) -> list[SearchHit]:
        """Return the hits of a page, and one more if there is one."""
        query = (
            sa.select(*_DATASET.columns, *_VERSION.columns)
            .select_from(search_documents)
            .join(datasets, datasets.c.id == _document.dataset_id)
            .join(dataset_versions, dataset_versions.c.id == _document.version_id)
            .where(*_behind(after, wanted), *conditions)
            .order_by(*_order(wanted))
            .limit(limit + 1)
        )
        width = len(_DATASET.columns)
        pairs = [(_DATASET.load(row[:width]), _VERSION.load(row[width:])) for row in self._session.read(query)]
        places = self._places(pairs, wanted) if wanted else {}
        return [
            SearchHit(dataset, version, snippet(places[dataset.id], wanted) if wanted else "")
            for dataset, version in pairs
        ]

    def _places(self, pairs: list[tuple[Dataset, DatasetVersion]], wanted: Sequence[str]) -> dict[UUID, list[Place]]:
        """Return where the words may be found; columns are loaded only of datasets that need them."""
        places = {dataset.id: dataset_places(dataset) for dataset, _ in pairs}
        deeper = {version.id: dataset.id for dataset, version in pairs if uncovered(places[dataset.id], wanted)}
        if deeper:
            column = dataset_columns.c
            query = sa.select(column.dataset_version_id, column.name, column.doc)
            query = query.where(column.dataset_version_id.in_(deeper)).order_by(
                column.dataset_version_id, column.position
            )
            for version_id, name, doc in self._session.read(query):
                places[deeper[version_id]] += column_places([(name, doc)])
        return places

    def _facets(self, conditions: list[Condition]) -> tuple[int, tuple[Facet, ...]]:
        """Return the number of matches, and of matches with each value of each facet, in one pass over the matches."""
        matches = (
            sa.select(_document.number, _document.namespace, _document.owner, _document.lifecycle)
            .where(*conditions)
            .cte("matches")
        )
        tagged = sa.select(search_tags.c.tag).join(matches, matches.c.number == search_tags.c.number).subquery()
        values = {
            "namespace": matches.c.namespace,
            "owner": matches.c.owner,
            "tag": tagged.c.tag,
            "lifecycle": sa.type_coerce(matches.c.lifecycle, sa.Text),
        }
        counts = [sa.select(sa.literal(_TOTAL), sa.literal(""), sa.func.count()).select_from(matches)]
        counts += [sa.select(sa.literal(name), values[name], sa.func.count()).group_by(values[name]) for name in FACETS]
        rows = [tuple(row) for row in self._session.read(sa.union_all(*counts))]
        facets = [Facet(name, value, number) for name, value, number in rows if name != _TOTAL]
        facets.sort(key=lambda facet: (FACETS.index(facet.name), -facet.count, facet.value))
        return next(number for name, _, number in rows if name == _TOTAL), tuple(facets)


def lock_dataset(session: Session, dataset_id: UUID) -> bool:
    """Keep others from changing which dataset version stands for a dataset until the transaction ends.

    Returns:
        False if there is no such dataset.
    """
    query = sa.select(datasets.c.id).where(datasets.c.id == dataset_id).with_for_update(key_share=True)
    return session.lock(query) is not None


def choose_version(session: Session, dataset_id: UUID) -> None:
    """Note in the index which dataset version stands for a dataset: the active one, else the newest.

    Call it after every change that may matter, with the dataset locked.
    """
    version = dataset_versions.c
    active = sa.case((version.lifecycle == Lifecycle.ACTIVE, 1), else_=0)
    query = sa.select(version.id, version.lifecycle).where(version.dataset_id == dataset_id)
    for chosen in session.read(query.order_by(active.desc(), version.number.desc()).limit(1)):
        mine = sa.update(search_documents).where(_document.dataset_id == dataset_id)
        session.write(mine.values(version_id=chosen.id, lifecycle=chosen.lifecycle))


def remove(session: Session, dataset_id: UUID) -> None:
    """Take a dataset out of the index."""
    number = session.scalar(sa.select(_document.number).where(_document.dataset_id == dataset_id))
    if number is not None:
        session.write(sa.text(_DROP_WORDS[session.is_postgres]), {"number": number})
        session.write(sa.delete(search_documents).where(_document.number == number))


def _order(wanted: Sequence[str]) -> list[sa.ColumnElement[Any]]:
    """Return what hits are sorted by: those whose names have all the words go first."""
    return [sa.case((_named(wanted), 0), else_=1), _document.full_name] if wanted else [_document.full_name]


def _behind(after: str, wanted: Sequence[str]) -> list[Condition]:
    """Return the condition of a page: what the order puts behind the last name of the one before."""
    further = _document.full_name > after
    if not after or not wanted:
        return [further]
    if in_name(after, wanted):
        return [sa.or_(further, sa.not_(_named(wanted)))]
    return [further, sa.not_(_named(wanted))]


def _named(wanted: Sequence[str]) -> sa.ColumnElement[bool]:
    """Say in SQL what :func:`in_name` does."""
    name = sa.literal("_") + sa.func.replace(_document.full_name, ".", "_") + sa.literal("_")
    return sa.and_(*(name.contains(part, autoescape=True) for part in name_parts(wanted)))


def _seen(viewer: Viewer | None) -> list[Condition]:
    seen = datasets_seen(viewer)
    return [_document.dataset_id.in_(sa.select(datasets.c.id).where(*seen).correlate(None))] if seen else []


def _filter(name: str, value: str) -> Condition:
    if name == "namespace":
        return _document.namespace == value
    if name == "owner":
        return _document.owner == value
    if name == "tag":
        return _document.number.in_(sa.select(search_tags.c.number).where(search_tags.c.tag == value))
    if name == "lifecycle":
        return sa.type_coerce(_document.lifecycle, sa.Text) == value
    raise InvalidInputError(f"Search has no facet {name[:40]!r}.", hint=f"Facets: {', '.join(FACETS)}.")
