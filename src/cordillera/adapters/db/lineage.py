"""Rows of lineage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from cordillera.adapters.db.catalog import remove_edges
from cordillera.adapters.db.rows import chunks
from cordillera.adapters.db.schema import lineage_edges
from cordillera.adapters.db.session import Row, Session
from cordillera.adapters.db.visibility import edges_seen
from cordillera.spec.access import Viewer
from cordillera.spec.lineage import Edge, Node

_NODES_A_QUERY = 100  # SQLite joins at most 500 queries into one

_LOCK = 0x4C494E45  # any number that no other lock has

_edge = lineage_edges.c


class SqlLineageRows:
    """See :class:`cordillera.ports.metadata.lineage.LineageRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lock(self) -> None:
        """Keep others, until the transaction ends, from making one dataset wait for another."""
        if self._session.is_postgres:  # SQLite has one writer anyway
            self._session.write_rows(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

    def put(self, edges: Sequence[Edge], now: datetime) -> None:
        """Add edges, or renew their columns and time."""
        rows = {(edge.source, edge.sink): _row(edge, now) for edge in edges}
        if not rows:
            return
        insert = self._session.insert(lineage_edges)
        renewed = insert.on_conflict_do_update(
            index_elements=["source_kind", "source_name", "sink_kind", "sink_name"],
            set_={"columns": insert.excluded["columns"], "updated_at": insert.excluded.updated_at},
        )
        self._session.write(renewed, [rows[ends] for ends in sorted(rows)])  # always in order: no two put() deadlock

    def remove(self, node: Node) -> None:
        """Remove every edge of a node."""
        remove_edges(self._session, node.kind, node.name)

    def neighbours(
        self, nodes: Sequence[Node], *, upstream: bool, limit: int, viewer: Viewer | None = None
    ) -> list[Edge]:
        """Return edges into or out of ``nodes``: by node, then by the name at the other end."""
        found: list[Edge] = []
        seen = edges_seen(viewer, is_postgres=self._session.is_postgres)
        for some in chunks(sorted(set(nodes)), _NODES_A_QUERY):
            each = (sa.select(_around(node, upstream, limit, seen)) for node in some)
            found += [_load(row) for row in self._session.read(sa.union_all(*each))]
        near, far = (
            (attrgetter("sink"), attrgetter("source")) if upstream else (attrgetter("source"), attrgetter("sink"))
        )
        return sorted(found, key=lambda edge: (near(edge), far(edge).name, far(edge).kind))

    def degree(self, nodes: Sequence[Node], *, upstream: bool, viewer: Viewer | None = None) -> dict[Node, int]:
        """Return how many edges lead into or out of each node."""
        seen = edges_seen(viewer, is_postgres=self._session.is_postgres)
        kind, name = (_edge.sink_kind, _edge.sink_name) if upstream else (_edge.source_kind, _edge.source_name)
        degrees = dict.fromkeys(nodes, 0)
        for some in chunks(list(degrees), _NODES_A_QUERY):
            wanted = sa.or_(*(sa.and_(kind == node.kind, name == node.name) for node in some))
            query = sa.select(kind, name, sa.func.count()).where(wanted, *seen).group_by(kind, name)
            degrees |= {Node(*row[:2]): row[2] for row in self._session.read(query)}
        return degrees


def _around(node: Node, upstream: bool, limit: int, seen: Sequence[sa.ColumnElement[bool]]) -> sa.Subquery:
    query = sa.select(_edge.source_kind, _edge.source_name, _edge.sink_kind, _edge.sink_name, _edge["columns"])
    query = query.where(*seen)
    if upstream:
        query = query.where(_edge.sink_kind == node.kind, _edge.sink_name == node.name)
        query = query.order_by(_edge.source_name, _edge.source_kind)
    else:
        query = query.where(_edge.source_kind == node.kind, _edge.source_name == node.name)
        query = query.order_by(_edge.sink_name, _edge.sink_kind)
    return query.limit(limit).subquery()


def _row(edge: Edge, now: datetime) -> dict[str, Any]:
    return {
        "source_kind": edge.source.kind,
        "source_name": edge.source.name,
        "sink_kind": edge.sink.kind,
        "sink_name": edge.sink.name,
        "columns": edge.columns,
        "updated_at": now,
    }


def _load(row: Row) -> Edge:
    source_kind, source_name, sink_kind, sink_name, columns = row
    return Edge(
        Node(source_kind, source_name),
        Node(sink_kind, sink_name),
        tuple((column, tuple(sources)) for column, sources in columns),
    )
