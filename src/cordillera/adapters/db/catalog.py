"""Rows of namespaces and datasets."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db import search
from cordillera.adapters.db.contents import datasets_in, first_seen, namespace_seen, namespaces_seen
from cordillera.adapters.db.dataset_versions import VERSION
from cordillera.adapters.db.grants import forget_securable
from cordillera.adapters.db.names import free_name, hold_namespace, take_name
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import (
    dataset_versions,
    datasets,
    enclosing_namespaces,
    lineage_edges,
    namespaces,
    subscriptions,
    views,
)
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.tag_sets import hold_tags, tag_set_of
from cordillera.adapters.db.visibility import datasets_seen
from cordillera.errors import AlreadyExistsError, NotEmptyError
from cordillera.spec.access import Viewer
from cordillera.spec.catalog import Dataset, DatasetVersion, Namespace
from cordillera.spec.lineage import NodeKind
from cordillera.spec.names import enclosing_names, parent_namespace

NAMESPACE = RowMap(Namespace, namespaces)
DATASET = RowMap(Dataset, datasets)

_NAMESPACE = NAMESPACE.lookup(namespaces.c.name)
_AROUND = Prepared(
    NAMESPACE.select()
    .where(namespaces.c.name.in_(sa.bindparam("names", expanding=True)))
    .order_by(namespaces.c.name.desc())
)
_LIVE = datasets.c.deleted_at.is_(None)
_BY_NAME = DATASET.lookup(datasets.c.full_name, where=_LIVE)
_BY_ID = DATASET.lookup(datasets.c.id)
_WITH_VERSIONS = Prepared(
    sa.select(*DATASET.columns, *VERSION.columns)
    .outerjoin_from(datasets, dataset_versions, dataset_versions.c.dataset_id == datasets.c.id)
    .where(datasets.c.full_name == sa.bindparam("wanted"), _LIVE)
    .order_by(dataset_versions.c.number)
)


class SqlNamespaceRows:
    """See :class:`cordillera.ports.metadata.catalog.NamespaceRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, namespace: Namespace) -> None:
        """Add a namespace."""
        if parent := parent_namespace(namespace.name):
            hold_namespace(self._session, parent)
        if not self._session.insert_new(namespaces, NAMESPACE.values(namespace)):
            raise AlreadyExistsError(
                f"The namespace {namespace.name} exists already.", hint="Use it, or choose another name."
            )
        around = [
            {"namespace": namespace.name, "outer": outer, "distance": distance}
            for distance, outer in enumerate((*enclosing_names(namespace.name), ""))
        ]
        self._session.write(sa.insert(enclosing_namespaces).values(around))

    def get(self, name: str, *, lock: bool = False) -> Namespace | None:
        """Return a namespace by name; with ``lock`` nobody else changes it before the transaction ends."""
        if not lock:
            return _NAMESPACE(self._session, name)
        query = NAMESPACE.select().where(namespaces.c.name == name)
        row = self._session.lock(query.with_for_update(key_share=True))
        return None if row is None else NAMESPACE.load(row)

    def with_parents(self, name: str) -> list[Namespace]:
        """Return a namespace by name and those that it is within, the nearest first; nothing if it is not there."""
        found = NAMESPACE.every(self._session, _AROUND, {"names": enclosing_names(name)})
        return found if found and found[0].name == name else []

    def page(
        self, after: str, limit: int, *, parent: str | None = None, viewer: Viewer | None = None
    ) -> list[Namespace]:
        """Return namespaces by name behind ``after``, those that a viewer may see."""
        query, name, seen = NAMESPACE.select(), namespaces.c.name, namespaces_seen(viewer)
        if parent is not None:
            nested = enclosing_namespaces.c
            directly = sa.and_(nested.namespace == namespaces.c.name, nested.outer == parent, nested.distance == 1)
            if seen:  # they are found by what the viewer holds, and not among all that are within the parent
                query = query.where(sa.select(nested.namespace).where(directly).exists())
            else:
                query, name = query.join(enclosing_namespaces, directly), nested.namespace
        return NAMESPACE.all(self._session, query.where(name > after, *seen).order_by(name).limit(limit))

    def is_seen(self, name: str, viewer: Viewer) -> bool:
        """Tell whether a viewer may discover a namespace that is there, or something in it."""
        return bool(self._session.scalar(sa.select(namespace_seen(viewer, name))))

    def update(self, namespace: Namespace) -> None:
        """Store a namespace's owner, description and properties anew."""
        changed = {
            "owner": namespace.owner,
            "description": namespace.description,
            "properties": namespace.properties,
        }
        self._session.write(sa.update(namespaces).where(namespaces.c.id == namespace.id).values(changed))

    def delete(self, name: str) -> None:
        """Remove a namespace that is empty."""
        mine = namespaces.c.name == name
        self._session.lock(sa.select(namespaces.c.id).where(mine).with_for_update())  # nobody adds a dataset meanwhile
        within = sa.select(enclosing_namespaces.c.namespace).where(
            enclosing_namespaces.c.outer == name, enclosing_namespaces.c.distance == 1
        )
        if self._session.read(within.limit(1)):
            raise NotEmptyError(f"The namespace {name} still has namespaces within.", hint="Delete them first.")
        if self._session.read(sa.select(views.c.id).where(views.c.namespace == name).limit(1)):
            raise NotEmptyError(f"The namespace {name} still has views.", hint="Drop them first.")
        if self._session.read(sa.select(datasets.c.id).where(datasets.c.namespace == name).limit(1)):
            raise NotEmptyError(
                f"The namespace {name} still has datasets, deleted ones that are not purged yet included.",
                hint="Delete and purge them first.",
            )
        forget_securable(self._session, sa.select(namespaces.c.id).where(mine).scalar_subquery())
        self._session.write(sa.delete(namespaces).where(mine))


class SqlDatasetRows:
    """See :class:`cordillera.ports.metadata.catalog.DatasetRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, dataset: Dataset) -> None:
        """Add a dataset."""
        hold_tags(self._session)
        hold_namespace(self._session, dataset.namespace)
        if dataset.deleted_at is None:
            take_name(self._session, dataset.full_name, dataset.id)
        derived = {
            "full_name": dataset.full_name,
            "tag_set": tag_set_of(self._session, dataset.id, dataset.namespace),
        }
        self._session.write(sa.insert(datasets).values({**DATASET.values(dataset), **derived}))

    def get(self, namespace: str, name: str) -> Dataset | None:
        """Return a live dataset by name."""
        return _BY_NAME(self._session, f"{namespace}.{name}")

    def with_versions(self, namespace: str, name: str) -> tuple[Dataset | None, list[DatasetVersion]]:
        """Return a live dataset by name, and its dataset versions by number."""
        rows, own = self._session.rows(_WITH_VERSIONS, {"wanted": f"{namespace}.{name}"}), len(DATASET.columns)
        versions = [VERSION.load(row[own:]) for row in rows if row[own] is not None]
        return (DATASET.load(rows[0][:own]) if rows else None), versions

    def lock(self, namespace: str, name: str) -> Dataset | None:
        """Return a live dataset by name; nobody else changes it, or commits to it, before the transaction ends.

        Its dataset versions come first, as in a commit, so that the two cannot wait for each other. Policy tags come
        before them, for whoever changes those changes datasets, too.
        """
        hold_tags(self._session)
        found = self.get(namespace, name)
        if found is None:
            return None
        versions = sa.select(dataset_versions.c.id).where(dataset_versions.c.dataset_id == found.id)
        self._session.write_rows(versions.order_by(dataset_versions.c.id).with_for_update(key_share=True))
        mine = DATASET.select().where(datasets.c.full_name == found.full_name, _LIVE)
        row = self._session.lock(mine.with_for_update(key_share=True))
        return None if row is None else DATASET.load(row)

    def get_by_id(self, dataset_id: UUID) -> Dataset | None:
        """Return a dataset by id, deleted or not."""
        return _BY_ID(self._session, dataset_id)

    def deleted_last(self, namespace: str, name: str, *, viewer: Viewer | None = None) -> Dataset | None:
        """Return, of the deleted datasets of a name that a viewer may discover, the one that was deleted last."""
        query = DATASET.select().where(datasets.c.full_name == f"{namespace}.{name}", ~_LIVE, *datasets_seen(viewer))
        newest = query.order_by(datasets.c.deleted_at.desc(), datasets.c.id.desc()).limit(1)
        return next(iter(DATASET.all(self._session, newest)), None)

    def page(
        self,
        namespace: str | None,
        after: str,
        limit: int,
        *,
        deleted: bool = False,
        viewer: Viewer | None = None,
    ) -> list[Dataset]:
        """Return datasets by full name behind ``after``, those that a viewer may discover.

        Deleted datasets can share a name. All that share the last name of a page are on it, so a page of deleted
        ones can be longer than ``limit``: the next one begins behind that name.
        """
        name, state = datasets.c.full_name, ~_LIVE if deleted else _LIVE
        ways = datasets_in(self._session, namespace, viewer, deleted=deleted)
        order = (name, datasets.c.id) if deleted else (name,)
        found = first_seen(self._session, DATASET, ways, (state, name > after), order, limit)
        if deleted and found and len(found) == limit:
            last = found[-1]
            namesakes = DATASET.select().where(name == last.full_name, datasets.c.id > last.id, state)
            if ways:
                namesakes = namesakes.where(sa.or_(*ways))
            found += DATASET.all(self._session, namesakes.order_by(datasets.c.id))
        return found

    def update(self, dataset: Dataset) -> None:
        """Store a dataset anew."""
        hold_tags(self._session)
        hold_namespace(self._session, dataset.namespace)
        if dataset.deleted_at is None:
            take_name(self._session, dataset.full_name, dataset.id)
        else:
            free_name(self._session, dataset.id)
        changed = (
            sa.update(datasets)
            .where(datasets.c.id == dataset.id)
            .values(
                tag_set=tag_set_of(self._session, dataset.id, dataset.namespace),
                namespace=dataset.namespace,
                name=dataset.name,
                full_name=dataset.full_name,
                owner=dataset.owner,
                description=dataset.description,
                tags=dataset.tags,
                updated_at=dataset.updated_at,
                deleted_at=dataset.deleted_at,
                purge_after=dataset.purge_after,
            )
        )
        self._session.write(changed)
        if dataset.deleted_at is not None:
            search.remove(self._session, dataset.id)

    def purge(self, dataset_id: UUID) -> None:
        """Remove a dataset and every row that belongs to it; its events and audit entries stay on record."""
        self._session.check_writable()
        dataset = self.get_by_id(dataset_id)
        if dataset is None:
            return
        self._session.allow_long_statements()
        search.remove(self._session, dataset_id)
        free_name(self._session, dataset_id)
        forget_securable(self._session, dataset_id)
        for table in (dataset_versions, subscriptions):
            for row in self._session.read(sa.select(table.c.id).where(table.c.dataset_id == dataset_id)):
                forget_securable(self._session, row.id)
        self._session.write(sa.delete(datasets).where(datasets.c.id == dataset_id))
        if self.get(dataset.namespace, dataset.name) is None:  # else the name, and its lineage, are another's now
            remove_edges(self._session, NodeKind.DATASET, dataset.full_name)

    def due_for_purge(self, now: datetime, limit: int) -> list[Dataset]:
        """Return deleted datasets whose retention has passed."""
        query = DATASET.select().where(~_LIVE, datasets.c.purge_after <= now)
        return DATASET.all(self._session, query.order_by(datasets.c.purge_after, datasets.c.id).limit(limit))

    def count(self) -> int:
        """Return the number of live datasets."""
        query = sa.select(sa.func.count()).select_from(datasets).where(_LIVE)
        return int(self._session.scalar(query))


def remove_edges(session: Session, kind: NodeKind, name: str) -> None:
    """Remove every lineage edge of a node."""
    edge = lineage_edges.c
    session.write(sa.delete(lineage_edges).where(edge.source_kind == kind, edge.source_name == name))
    session.write(sa.delete(lineage_edges).where(edge.sink_kind == kind, edge.sink_name == name))
