"""Namespaces: creating, finding, changing and deleting them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cordillera.catalog.lookup import Lookup, page_limit
from cordillera.catalog.trail import Trail
from cordillera.catalog.waking import wake_inside
from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege, SecurableKind
from cordillera.spec.catalog import Namespace
from cordillera.spec.names import check_namespace_name, parent_namespace
from cordillera.spec.texts import changed_properties, check_texts


class NamespaceService:
    """The namespaces of one lake.

    Args:
        store: The metadata store.
        lookup: Finds what whoever acts may.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, clock: Clock) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock

    def create(
        self, name: str, *, owner: str = "", description: str = "", properties: Mapping[str, str] | None = None
    ) -> Namespace:
        """Create a namespace: a name with dots is within the namespace before the last dot.

        Unless ``owner`` says otherwise, whoever creates it owns it; or the owner of what it is within, if whoever
        creates it administers that.

        Raises:
            InvalidNameError: If the name breaks the naming rules.
            NamespaceNotFoundError: If the namespace that it is to be within does not exist.
            InvalidInputError: If the owner, the description or a property is too long, or there are too many of these.
            AlreadyExistsError: If it is taken.
            AccessDeniedError: If whoever acts may create nothing in the lake, or in the namespace that it is within.
        """
        check_namespace_name(name)
        check_texts("namespace", name, owner=owner, description=description)
        noted, now = changed_properties("namespace", name, {}, properties or {}), self._clock.now()
        with self._store.write() as tx:
            namespace = Namespace(self._clock.new_id(), name, self._new_owner(tx, name, owner), description, now, noted)
            tx.namespaces.insert(namespace)
            Trail(tx, now).audit("namespace.create", "namespace", name, {"owner": namespace.owner})
        return namespace

    def _new_owner(self, tx: Transaction, name: str, owner: str) -> str:
        if parent := parent_namespace(name):
            return self._lookup.new_owner(tx, self._lookup.namespace(tx, parent, Privilege.CREATE), owner)
        owner = owner or current().principal
        mine = self._lookup.authorizer.acts_for(tx, owner)
        self._lookup.lake(tx, Privilege.CREATE if mine else Privilege.ADMINISTER)
        return owner

    def get(self, name: str) -> Namespace:
        """Return a namespace by name, or raise ``NamespaceNotFoundError``."""
        with self._store.read() as tx:
            return self._lookup.namespace(tx, name)

    def page(self, after: str = "", limit: int = 100, *, parent: str | None = None) -> list[Namespace]:
        """Return a page of namespaces by name: all; or those directly within a namespace, or, if it is empty, in none.

        Raises:
            NamespaceNotFoundError: If there is no namespace of the parent's name.
        """
        with self._store.read() as tx:
            if parent:
                self._lookup.namespace(tx, parent)
            return tx.namespaces.page(after, page_limit(limit), parent=parent, viewer=self._lookup.viewer(tx))

    def update(
        self,
        name: str,
        *,
        owner: str | None = None,
        description: str | None = None,
        properties: Mapping[str, str | None] | None = None,
    ) -> Namespace:
        """Change a namespace's owner, description or properties: those that are named, where None removes."""
        check_texts("namespace", name, owner=owner, description=description)
        with self._store.write() as tx:
            found = self._lookup.namespace(tx, name, Privilege.ALTER, lock=True)
            if owner is not None and owner != found.owner:
                self._lookup.namespace(tx, name, Privilege.ADMINISTER)
            changed = replace(
                found,
                owner=found.owner if owner is None else owner,
                description=found.description if description is None else description,
                properties=changed_properties("namespace", name, found.properties, properties or {}),
            )
            tx.namespaces.update(changed)
            details = {"owner": changed.owner, "properties": sorted(properties or ())}
            Trail(tx, self._clock.now()).audit("namespace.update", "namespace", name, details)
            if changed.owner != found.owner:
                wake_inside(tx, SecurableKind.NAMESPACE, found.id, self._clock)
        return changed

    def delete(self, name: str) -> None:
        """Remove an empty namespace; raises ``NotEmptyError`` while it holds datasets, views or namespaces."""
        with self._store.write() as tx:
            self._lookup.namespace(tx, name, Privilege.ADMINISTER)
            tx.namespaces.delete(name)
            Trail(tx, self._clock.now()).audit("namespace.delete", "namespace", name, {})
