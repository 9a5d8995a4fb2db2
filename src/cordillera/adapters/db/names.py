"""Names that live datasets and views have: a key of the database keeps any two from having the same."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.schema import datasets, namespaces, taken_names
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError, NamespaceNotFoundError


def take_name(session: Session, full_name: str, object_id: UUID) -> None:
    """Give an object a name, in the place of the one that it has, if it has one.

    Raises:
        AlreadyExistsError: If another object has it; nothing has changed then.
    """
    mine = taken_names.c.object_id == object_id
    before = session.scalar(sa.select(taken_names.c.full_name).where(mine))
    if before == full_name:
        return
    if before is None:
        taken = session.insert_new(taken_names, {"full_name": full_name, "object_id": object_id})
    else:
        taken = session.update_unique(sa.update(taken_names).where(mine).values(full_name=full_name))
    if not taken:
        live = sa.select(datasets.c.id).where(datasets.c.full_name == full_name, datasets.c.deleted_at.is_(None))
        what = "dataset" if session.read(live) else "view"
        raise AlreadyExistsError(f"The {what} {full_name} exists already.", hint="Choose another name.")


def free_name(session: Session, object_id: UUID) -> None:
    """Let others have an object's name."""
    session.write(sa.delete(taken_names).where(taken_names.c.object_id == object_id))


def hold_namespace(session: Session, name: str) -> None:
    """Keep others from removing a namespace until the transaction ends.

    Raises:
        NamespaceNotFoundError: If there is none of the name.
    """
    namespace = sa.select(namespaces.c.id).where(namespaces.c.name == name)
    if not session.lock(namespace.with_for_update(read=True, key_share=True)):
        raise NamespaceNotFoundError(f"There is no namespace {name}.", hint="Create it first.")
