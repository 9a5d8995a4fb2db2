"""Tag sets: which policy tags count for a dataset, kept with the dataset, so that grants by tags are found by index.

There are few combinations of tags, however many datasets: a tag expression is true of some of them, and a dataset is
covered if its one is among those. A transaction that changes tags, or makes or moves a dataset, brings it up to date.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import chunks
from cordillera.adapters.db.schema import (
    datasets,
    enclosing_namespaces,
    namespaces,
    policy_tags,
    tag_set_tags,
    tag_sets,
)
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.types import dump_json
from cordillera.spec import access_tags
from cordillera.spec.access import SecurableKind
from cordillera.spec.access_tags import Among, Missing, Not, TagExpression, fulfils, inherited
from cordillera.spec.names import enclosing_names

NO_TAGS = UUID(int=0)
"""The tag set without tags; every dataset has it to begin with, and it is in no table."""

Tags = dict[str, str]
_TAGS_LOCK = 0x54414753  # any number that no other lock has
_WHOLE = policy_tags.c.column_name == ""
_OWN = sa.select(sa.literal("", namespaces.c.name.type), policy_tags.c.name, policy_tags.c.value).where(
    _WHOLE, policy_tags.c.securable_id == sa.bindparam("own")
)
_AROUND = (
    sa.select(namespaces.c.name, policy_tags.c.name, policy_tags.c.value)
    .join(policy_tags, policy_tags.c.securable_id == namespaces.c.id)
    .where(_WHOLE, namespaces.c.name.in_(sa.bindparam("around", expanding=True)))
)
_OF_OWN, _OF_AROUND = Prepared(_OWN), Prepared(_AROUND)
_IS_THERE = Prepared(sa.select(tag_sets.c.id).where(tag_sets.c.id == sa.bindparam("asked")))


def hold_tags(session: Session) -> None:
    """Keep policy tags from being changed by others, while a dataset gets its tag set, until the transaction ends."""
    _lock(session, "pg_advisory_xact_lock_shared")


def change_tags(session: Session) -> None:
    """Keep others from giving datasets their tag sets, and from changing policy tags, until the transaction ends."""
    _lock(session, "pg_advisory_xact_lock")


def tag_set_of(session: Session, dataset_id: UUID, namespace: str) -> UUID:
    """Return the tag set that a dataset has in a namespace; ``hold_tags`` has been called."""
    around = enclosing_names(namespace)
    levels: dict[str, Tags] = defaultdict(dict)
    rows = session.rows(_OF_OWN, {"own": dataset_id}) + session.rows(_OF_AROUND, {"around": around})
    for level, name, value in rows:
        levels[level][name] = value
    return _stored(session, inherited([levels[level] for level in ("", *around)]))


def retag(session: Session, kind: SecurableKind, securable_id: UUID) -> None:
    """Bring the tag sets of datasets up to date after a policy tag of an object has changed; ``change_tags`` has been
    called before it did.

    Args:
        session: The transaction.
        kind, securable_id: The namespace, in or within which datasets are; or the dataset.
    """
    if kind is SecurableKind.NAMESPACE:
        _retag_within(session, securable_id)
    else:
        query = sa.select(datasets.c.namespace).where(datasets.c.id == securable_id)
        namespace = session.scalar(query)
        if namespace is not None:
            _put(session, {tag_set_of(session, securable_id, namespace): [securable_id]})
    used = sa.select(datasets.c.id).where(datasets.c.tag_set == tag_sets.c.id).exists()
    session.write(sa.delete(tag_sets).where(~used))


def fulfilling(expression: TagExpression) -> sa.GenerativeSelect:
    """Return the query for the tag sets that an expression is true of, each an ``id``."""
    found = sa.select(tag_sets.c.id).where(_fulfils(expression)).correlate(None)
    if not fulfils({}, expression):
        return found
    return sa.union_all(found, sa.select(sa.literal(NO_TAGS, tag_sets.c.id.type).label("id")))


def _lock(session: Session, function: str) -> None:
    if session.is_postgres:  # SQLite has one writer anyway
        session.write_rows(sa.text(f"SELECT {function}(:key)"), {"key": _TAGS_LOCK})


def _stored(session: Session, tags: Mapping[str, str]) -> UUID:
    """Return the tag set of some tags, which is there from now on. Its id follows from them."""
    if not tags:
        return NO_TAGS
    found = UUID(bytes=hashlib.sha256(dump_json(sorted(tags.items())).encode()).digest()[:16])
    if not session.rows(_IS_THERE, {"asked": found}) and session.insert_new(tag_sets, {"id": found}):
        rows = [{"tag_set": found, "name": name, "value": value} for name, value in tags.items()]
        session.write(sa.insert(tag_set_tags), rows)
    return found


def _retag_within(session: Session, namespace_id: UUID) -> None:
    within = sa.select(enclosing_namespaces.c.namespace).where(
        enclosing_namespaces.c.outer
        == sa.select(namespaces.c.name).where(namespaces.c.id == namespace_id).scalar_subquery()
    )
    names = [row.namespace for row in session.read(within)]
    levels: dict[str, Tags] = defaultdict(dict)
    for around in chunks(sorted({outer for name in names for outer in enclosing_names(name)})):
        for level, name, value in session.rows(_OF_AROUND, {"around": around}):
            levels[level][name] = value
    spaces = {name: [levels[outer] for outer in enclosing_names(name)] for name in names}
    _put_spaces(session, spaces)
    own: dict[tuple[UUID, str], Tags] = defaultdict(dict)
    query = sa.select(datasets.c.id, datasets.c.namespace, policy_tags.c.name, policy_tags.c.value)
    query = query.join(policy_tags, policy_tags.c.securable_id == datasets.c.id).where(_WHOLE)
    for dataset_id, namespace, name, value in session.read(query.where(datasets.c.namespace.in_(within))):
        own[dataset_id, namespace][name] = value
    wanted: dict[UUID, list[UUID]] = defaultdict(list)
    for (dataset_id, namespace), tags in own.items():
        wanted[_stored(session, inherited([tags, *spaces[namespace]]))].append(dataset_id)
    _put(session, wanted)


def _put_spaces(session: Session, spaces: Mapping[str, Iterable[Tags]]) -> None:
    """Give the datasets that have no tags of their own those of their namespaces."""
    wanted: dict[UUID, list[str]] = defaultdict(list)
    for name, levels in spaces.items():
        wanted[_stored(session, inherited(list(levels)))].append(name)
    own = sa.select(policy_tags.c.name).where(_WHOLE, policy_tags.c.securable_id == datasets.c.id).exists()
    for tag_set, names in wanted.items():
        for some in chunks(names):
            here = sa.update(datasets).where(datasets.c.namespace.in_(some), datasets.c.tag_set != tag_set, ~own)
            session.write(here.values(tag_set=tag_set))


def _put(session: Session, wanted: Mapping[UUID, list[UUID]]) -> None:
    for tag_set, dataset_ids in wanted.items():
        for some in chunks(dataset_ids):
            these = sa.update(datasets).where(datasets.c.id.in_(some), datasets.c.tag_set != tag_set)
            session.write(these.values(tag_set=tag_set))


def _fulfils(expression: TagExpression) -> sa.ColumnElement[bool]:
    tag = tag_set_tags.c
    match expression:
        case Among(name, values, wanted):
            value = tag.value.in_(values) if wanted else tag.value.not_in(values)
            return tag_sets.c.id.in_(sa.select(tag.tag_set).where(tag.name == name, value))
        case Missing(name, wanted):
            named = sa.select(tag.tag_set).where(tag.name == name)
            return tag_sets.c.id.not_in(named) if wanted else tag_sets.c.id.in_(named)
        case Not(part):
            return sa.not_(_fulfils(part))
        case access_tags.All(parts):
            return sa.and_(*map(_fulfils, parts))
        case access_tags.Any(parts):
            return sa.or_(*map(_fulfils, parts))
