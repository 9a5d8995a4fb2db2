"""Rows of completion rules, and of what is known of the partitions they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.given import given
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap, chunks
from cordillera.adapters.db.schema import completion_rules, completion_upstreams, partition_states
from cordillera.adapters.db.session import Row, Session
from cordillera.spec.completion_rule import CompletionRule, PartitionState, RuleInForce
from cordillera.spec.names import parse_dataset_ref

RULE = RowMap(RuleInForce, completion_rules)
STATE = RowMap(PartitionState, partition_states)

_state = partition_states.c
_rule = completion_rules.c
# The conditions of the partial indexes; SQLite uses an index only if its condition is there as it stands.
_OPEN, _DUE = sa.text("partition_states.open"), sa.text("partition_states.due")
_BY_VERSION = RULE.select().where(_rule.dataset_version_id == sa.bindparam("version"))


class SqlCompletionRuleRows:
    """See :class:`cordillera.ports.metadata.completion.CompletionRuleRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, rule: RuleInForce) -> None:
        """Store a rule, in the place of the one there was."""
        values = {**RULE.values(rule), "rule": rule.rule.plain}
        insert = self._session.insert(completion_rules)
        changed = {name: insert.excluded[name] for name in values if name != "dataset_version_id"}
        self._session.write(insert.on_conflict_do_update(index_elements=["dataset_version_id"], set_=changed), values)
        upstream = completion_upstreams.c
        mine = upstream.dataset_version_id == rule.dataset_version_id
        names = sorted({parse_dataset_ref(name).full_name for name in rule.rule.upstream})
        self._session.write(sa.delete(completion_upstreams).where(mine, upstream.dataset.not_in(names)))
        for name in names:
            row = {"dataset_version_id": rule.dataset_version_id, "dataset": name}
            self._session.insert_new(completion_upstreams, row)

    def get(self, version_id: UUID, *, lock: bool = False) -> RuleInForce | None:
        """Return the rule of a dataset version, locked for this transaction if asked."""
        if lock:
            found = self._session.lock(_BY_VERSION.with_for_update(), {"version": version_id})
            return None if found is None else _load(found)
        rows = self._session.read(_BY_VERSION, {"version": version_id})
        return _load(rows[0]) if rows else None

    def remove(self, version_id: UUID) -> bool:
        """Remove a rule, and what is known of its partitions but for what was announced."""
        for table in (completion_upstreams, completion_rules):
            removed = self._session.write(sa.delete(table).where(table.c.dataset_version_id == version_id))
        self.restart(version_id)
        return removed == 1

    def restart(self, version_id: UUID) -> None:
        """Forget what was counted; what was announced stays."""
        self._session.allow_long_statements()
        mine = _state.dataset_version_id == version_id
        self._session.write(sa.delete(partition_states).where(mine, _state.announced_rows.is_(None)))
        forgotten = {"rows": 0, "totals": {}, "changed_sequence": 0, "open": True, "due": True}
        self._session.write(sa.update(partition_states).where(mine).values(forgotten))

    def following(self, datasets: Sequence[str]) -> list[tuple[UUID, str]]:
        """Return the dataset versions whose rules name datasets as upstream, each with one of those."""
        query, upstream = _following(self._session.is_postgres), [[dataset] for dataset in datasets]
        return [(version, dataset) for version, dataset in self._session.rows(query, {"upstream": upstream})]

    def states(self, version_id: UUID, partitions: Sequence[str]) -> dict[str, PartitionState]:
        """Return what is known of partitions; those of which nothing is are absent."""
        found: dict[str, PartitionState] = {}
        for some in chunks(partitions):
            query = STATE.select().where(_state.dataset_version_id == version_id, _state.partition.in_(some))
            found |= {state.partition: state for state in STATE.all(self._session, query)}
        return found

    def put_states(self, states: Sequence[PartitionState]) -> None:
        """Store what is known of partitions."""
        if not states:
            return
        insert = self._session.insert(partition_states)
        keys = ("dataset_version_id", "partition")
        rows = [STATE.values(state) for state in sorted(states, key=lambda one: one.partition)]
        changed = {name: insert.excluded[name] for name in rows[0] if name not in keys}
        self._session.write(insert.on_conflict_do_update(index_elements=list(keys), set_=changed), rows)

    def due(self, version_id: UUID, limit: int) -> list[PartitionState]:
        """Return partitions that are to be looked at, lowest label first."""
        query = STATE.select().where(_state.dataset_version_id == version_id, _DUE)
        return STATE.all(self._session, query.order_by(_state.partition).limit(limit))

    def make_due(self, version_id: UUID, first: str = "", before: str | None = None) -> None:
        """Have the open partitions looked at whose labels are in a range."""
        changed = sa.update(partition_states).where(_state.dataset_version_id == version_id, _OPEN)
        changed = changed.where(_state.partition >= first)
        if before is not None:
            changed = changed.where(_state.partition < before)
        self._session.write(changed.values(due=True))

    def open_page(self, version_id: UUID, before: str | None, limit: int) -> list[PartitionState]:
        """Return partitions that are not complete, or have changed since, highest label first."""
        query = STATE.select().where(_state.dataset_version_id == version_id, _OPEN)
        if before is not None:
            query = query.where(_state.partition < before)
        return STATE.all(self._session, query.order_by(_state.partition.desc()).limit(limit))


@lru_cache
def _following(is_postgres: bool) -> Prepared:
    """Return a query for the dataset versions that follow datasets; its parameter is ``upstream``."""
    one, named = completion_upstreams.c, given("upstream", (sa.Text(),), is_postgres=is_postgres)
    query = sa.select(one.dataset_version_id, one.dataset).join(named, one.dataset == named.c.one)
    return Prepared(query.order_by(one.dataset_version_id, one.dataset))


def _load(row: Row) -> RuleInForce:
    found = RULE.load(row)
    plain: Any = found.rule  # as the database has it
    return replace(found, rule=CompletionRule.of_plain(plain))
