"""Policy tags: labels on namespaces, datasets and columns that grants can name."""

from __future__ import annotations

from cordillera.access.narrowing import check_mask
from cordillera.access.securables import FoundSecurable, Securables
from cordillera.catalog.lookup import meant_version
from cordillera.catalog.tables import TableService
from cordillera.catalog.trail import Trail
from cordillera.catalog.waking import wake_inside
from cordillera.context import current
from cordillera.errors import InvalidInputError, NotFoundError, UnknownColumnError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import PolicyTag, Privilege, Securable, SecurableKind
from cordillera.spec.access_tags import check_tag
from cordillera.spec.catalog import Dataset
from cordillera.spec.masks import Mask, parse_mask

TAGGED = (SecurableKind.NAMESPACE, SecurableKind.DATASET)


class PolicyTagService:
    """Sets, removes and shows policy tags.

    Who changes tags changes who has access, so it takes one who administers the object.

    Args:
        store: Keeps them.
        securables: Finds what they are on.
        tables: Knows the columns of datasets.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, securables: Securables, tables: TableService, clock: Clock) -> None:
        self._store, self._securables, self._tables, self._clock = store, securables, tables, clock

    def set(self, on: Securable, name: str, value: str, *, column: str = "", mask: str = "") -> PolicyTag:
        """Label a namespace, a dataset or one of its columns.

        Args:
            on: The namespace or dataset. What is inside it is labelled so too, unless it has its own tag of the name.
            name: The tag's name.
            value: Its value.
            column: The column; empty for the object as a whole.
            mask: What is seen of the column by whoever has no grant that says otherwise; empty for its values.

        Raises:
            AccessDeniedError: If whoever acts does not administer the object.
            InvalidInputError: If there is no such mask, or it is for no column, or does not fit it.
            InvalidNameError, InvalidExpressionError: If there can be no such tag.
            UnknownColumnError: If the dataset has no such column.
            NotFoundError: If there is no such object.
        """
        check_tag(name, value)
        now = self._clock.now()
        with self._store.write() as tx:
            found = self._administered(tx, on, column)
            if mask:
                self._check_mask(tx, found, column, mask)
            tag = PolicyTag(on.kind, found.id, on.name, column, name, value, current().principal, now, mask)
            tx.policy_tags.put(tag)
            told = {"tag": name, "value": value, "column": column, **({"mask": mask} if mask else {})}
            Trail(tx, now).audit("access.set_tag", on.kind, on.name, told)
            wake_inside(tx, on.kind, found.id, self._clock)
        return tag

    def remove(self, on: Securable, name: str, *, column: str = "") -> None:
        """Remove a label.

        Raises:
            AccessDeniedError: If whoever acts does not administer the object.
            NotFoundError: If there is no such label, or no such object.
        """
        with self._store.write() as tx:
            found = self._administered(tx, on, "")
            if not tx.policy_tags.delete(on.kind, found.id, column, name):
                where = f"The column {column!r} of {on}" if column else str(on)
                raise NotFoundError(
                    f"{where} has no policy tag {name[:60]!r} of its own.",
                    hint=f"See which there are with: cordillera policy-tag list {on}.",
                )
            details = {"tag": name, "column": column}
            Trail(tx, self._clock.now()).audit("access.remove_tag", on.kind, on.name, details)
            wake_inside(tx, on.kind, found.id, self._clock)

    def of(self, on: Securable) -> list[PolicyTag]:
        """Return the tags of a namespace or dataset: those of what it is within too, unless it has its own."""
        with self._store.read() as tx:
            found = self._securables.find(tx, _checked(on))
            tags = tx.policy_tags.of(on.kind, found.id)
            for outer in reversed(found.outside[1:-1]):
                names = {tag.name for tag in tags if not tag.column}
                above = tx.policy_tags.of(SecurableKind.NAMESPACE, outer)
                tags = [*(tag for tag in above if tag.name not in names), *tags]
            return tags

    def _administered(self, tx: Transaction, on: Securable, column: str) -> FoundSecurable:
        found = self._securables.find(tx, _checked(on))
        self._securables.require(tx, found, Privilege.ADMINISTER)
        if column:
            _check_column(tx, found, column)
        return found

    def _check_mask(self, tx: Transaction, found: FoundSecurable, column: str, mask: str) -> None:
        if not column or not isinstance(found.object, Dataset) or parse_mask(mask) is Mask.CLEAR:
            raise InvalidInputError(
                "Masks come with the policy tags of columns, and hide something.",
                hint="Name a dataset, a column and a mask other than clear.",
            )
        schema = self._tables.load(meant_version(tx, found.object)).schema
        check_mask(found.on.name, column, mask, (schema,))


def _checked(on: Securable) -> Securable:
    if on.kind not in TAGGED:
        raise InvalidInputError(f"{on} can have no policy tags.", hint="Name a namespace or a dataset.")
    return on


def _check_column(tx: Transaction, found: FoundSecurable, column: str) -> None:
    if not isinstance(found.object, Dataset):
        raise InvalidInputError(f"{found.on} has no columns.", hint="Name a dataset.")
    names = [one.name for one in tx.dataset_versions.columns(meant_version(tx, found.object).id)]
    if column not in names:
        raise UnknownColumnError(f"{found.on.name} has no column {column!r}.", hint=f"Columns: {', '.join(names)}.")
