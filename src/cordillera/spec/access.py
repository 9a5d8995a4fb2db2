"""Who may do what: principals, privileges, grants, and what follows from them.

A privilege held on an object holds on everything inside it: on the lake for every namespace, on a namespace for its
datasets, on a dataset for its dataset versions. Whoever owns an object administers it. Of what is held elsewhere, only
administering reaches subscriptions: who relies on a dataset, and how far, is not for everybody who reads it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from cordillera.errors import AccessDeniedError, InvalidInputError, InvalidNameError
from cordillera.spec.names import parse_dataset_ref

LAKE_ID = UUID(int=0)
"""Stands for the lake where grants name objects by id."""
_KINDS_OF_PRINCIPALS = ("user", "service", "group", "role")
_PRINCIPAL = re.compile(rf"({'|'.join(_KINDS_OF_PRINCIPALS)}):[^\s\x00-\x1f\x7f](.{{0,188}}[^\s\x00-\x1f\x7f])?")
USER = "user:"
"""What the names of users begin with; they can be written without."""


class Privilege(StrEnum):
    """What somebody may do with an object."""

    DISCOVER = "discover"
    """See that it is there, and what it is: name, owner, description, columns, contract, completions."""
    READ = "read"
    """Read its rows, and what tells of them: snapshots, statistics, files."""
    WRITE = "write"
    """Commit rows, and declare partitions complete."""
    ALTER = "alter"
    """Change its columns, layout, contract, lifecycle, branches, texts; maintain it."""
    CREATE = "create"
    """Make datasets in it; on the lake, namespaces too."""
    EXTERNAL_USE = "external_use"
    """Get credentials for its files, for engines elsewhere, to do what other privileges allow."""
    ADMINISTER = "administer"
    """Everything, and deciding who else may."""


_IMPLIED: Mapping[Privilege, frozenset[Privilege]] = {
    Privilege.DISCOVER: frozenset(),
    Privilege.READ: frozenset({Privilege.DISCOVER}),
    Privilege.WRITE: frozenset({Privilege.DISCOVER}),
    Privilege.ALTER: frozenset({Privilege.DISCOVER}),
    Privilege.CREATE: frozenset({Privilege.DISCOVER}),
    Privilege.EXTERNAL_USE: frozenset(),
    Privilege.ADMINISTER: frozenset(Privilege),
}


def implied_by(privilege: Privilege) -> frozenset[Privilege]:
    """Return the privileges that come with one, itself among them."""
    return _IMPLIED[privilege] | {privilege}


def sufficient_for(privilege: Privilege) -> frozenset[Privilege]:
    """Return the privileges that one comes with, itself among them."""
    return frozenset(one for one in Privilege if privilege in implied_by(one))


class SecurableKind(StrEnum):
    """What privileges can be granted on."""

    LAKE = "lake"
    NAMESPACE = "namespace"
    DATASET = "dataset"
    DATASET_VERSION = "dataset_version"
    VIEW = "view"
    TARGET = "target"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True)
class Securable:
    """An object that privileges can be granted on, as people name it."""

    kind: SecurableKind
    name: str = ""

    def __str__(self) -> str:
        return self.kind if self.kind is SecurableKind.LAKE else f"{self.kind}:{self.name}"

    @property
    def described(self) -> str:
        """How to call it in a sentence."""
        return "the lake" if self.kind is SecurableKind.LAKE else f"the {self.kind.replace('_', ' ')} {self.name}"


THE_LAKE = Securable(SecurableKind.LAKE)


def parse_securable(text: str) -> Securable:
    """Read what somebody calls an object: ``lake``, ``namespace:sales``, ``sales.orders``, ``sales.orders_v2``,
    ``target:warehouse``, ``subscription:`` and its id.

    Raises:
        InvalidNameError: If the text has another form.
    """
    kind, colon, name = text.partition(":")
    if text == SecurableKind.LAKE:
        return THE_LAKE
    if not colon and "." in text:
        kind, name = SecurableKind.DATASET, text
    if kind not in list(SecurableKind) or kind == SecurableKind.LAKE or not name:
        raise InvalidNameError(
            f"{text[:200]!r} names nothing that privileges can be granted on.",
            hint="Write lake, namespace:NAME, NAMESPACE.DATASET, the same with _v and a number for a dataset version, "
            "view:NAMESPACE.VIEW, target:NAME or subscription:ID.",
        )
    if kind == SecurableKind.SUBSCRIPTION:
        return Securable(SecurableKind.SUBSCRIPTION, str(_subscription_id(name)))
    if kind not in (SecurableKind.DATASET, SecurableKind.DATASET_VERSION, SecurableKind.VIEW):
        return Securable(SecurableKind(kind), name)
    ref = parse_dataset_ref(name)
    if kind == (SecurableKind.DATASET_VERSION if ref.version is None else SecurableKind.VIEW):
        wanted = "a dataset version" if ref.version is None else "a view"
        raise InvalidNameError(f"{name!r} does not name {wanted}.", hint=f"Use {ref.full_name!r}, or another kind.")
    return Securable(SecurableKind(kind) if ref.version is None else SecurableKind.DATASET_VERSION, str(ref))


def _subscription_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidNameError(
            f"{text[:60]!r} is no subscription's id.", hint="See the ids with: cordillera subscription list."
        ) from None


def parse_privilege(text: str) -> Privilege:
    """Read the name of a privilege.

    Raises:
        InvalidInputError: If there is none of that name.
    """
    try:
        return Privilege(text)
    except ValueError:
        raise InvalidInputError(
            f"There is no privilege {text[:40]!r}.", hint=f"Use one of: {', '.join(Privilege)}."
        ) from None


def grantable_on(kind: SecurableKind) -> tuple[Privilege, ...]:
    """Return the privileges that have a meaning on objects of a kind."""
    if kind is SecurableKind.SUBSCRIPTION:
        return (Privilege.DISCOVER, Privilege.READ, Privilege.ALTER, Privilege.ADMINISTER)
    inside = kind in (SecurableKind.LAKE, SecurableKind.NAMESPACE)
    return tuple(one for one in Privilege if inside or one is not Privilege.CREATE)


def check_grantable(privilege: Privilege, on: Securable) -> None:
    """Refuse to grant what has no meaning on an object.

    Raises:
        InvalidInputError: If it has none.
    """
    if privilege in grantable_on(on.kind):
        return
    if privilege is Privilege.CREATE:
        raise InvalidInputError(
            f"Nothing is created in {on.described}.", hint="Grant create on a namespace, or on the lake."
        )
    raise InvalidInputError(
        f"{privilege} means nothing on {on.described}.", hint=f"Grant one of: {', '.join(grantable_on(on.kind))}."
    )


def whole_principal(text: str) -> str:
    """Return a principal's name with its kind: a name without one is a user's."""
    return text if text.partition(":")[0] in _KINDS_OF_PRINCIPALS and ":" in text else f"{USER}{text}"


def parse_principal(text: str) -> str:
    """Read the name of somebody who can hold privileges: ``user:ana``, ``service:etl``, ``group:sales``, ``role:dba``.

    Raises:
        InvalidInputError: If the text has another form.
    """
    principal = whole_principal(text)
    if not _PRINCIPAL.fullmatch(principal):
        raise InvalidInputError(
            f"{text[:200]!r} is no principal.", hint="Write user:NAME, service:NAME, group:NAME or role:NAME."
        )
    return principal


def check_container(principal: str) -> None:
    """Refuse members for what has none.

    Raises:
        InvalidInputError: If the principal is neither a group nor a role.
    """
    if not principal.startswith(("group:", "role:")):
        raise InvalidInputError(f"{principal} can have no members.", hint="Write group:NAME or role:NAME.")


def owners_among(principals: Iterable[str]) -> frozenset[str]:
    """Return what may stand in an owner's place for some principals: a user can be there without the kind."""
    found = set(principals)
    return frozenset(found | {one.removeprefix(USER) for one in found if one.startswith(USER)} - {""})


@dataclass(frozen=True, slots=True)
class Grant:
    """A privilege that somebody was given.

    Attributes:
        kind, securable_id, securable_name: The object, as it is called now; to somebody who can no longer discover it,
            as it was called when it was granted. The lake has no name.
        tag_expression: Of the datasets inside the object, those it is about; empty for the object as a whole.
        grant_option: Whether the holder may grant it on.
        expires_at: When it ends; None for never.
        row_filter: Of a privilege to read: the SQL condition on the rows that it is about; empty for all.
        masks: What is seen of columns, by name, in the place of their values; see ``cordillera.spec.masks``.
        tag_masks: The same by tag expressions over the policy tags of columns.
        deputy_of: The owners for whom ``granted_by`` stood in when he gave it; none if he gave it by himself.
    """

    id: UUID
    principal: str
    privilege: Privilege
    kind: SecurableKind
    securable_id: UUID
    securable_name: str
    tag_expression: str
    grant_option: bool
    granted_by: str
    granted_at: datetime
    expires_at: datetime | None
    reason: str
    row_filter: str = ""
    masks: Mapping[str, str] = field(default_factory=dict)
    tag_masks: Mapping[str, str] = field(default_factory=dict)
    deputy_of: tuple[str, ...] = ()

    @property
    def on(self) -> str:
        """The object, as people name it."""
        return str(Securable(self.kind, self.securable_name))

    @property
    def narrowed(self) -> bool:
        """Whether it says which rows, or what of columns, may be read."""
        return bool(self.row_filter or self.masks or self.tag_masks)

    @property
    def privileges(self) -> frozenset[Privilege]:
        """What comes with it whatever it is used on; reading apart if it is narrowed, which depends on the dataset."""
        every = implied_by(self.privilege)
        return every - {Privilege.READ} if self.narrowed else every


@dataclass(frozen=True, slots=True)
class Membership:
    """Somebody's belonging to a group or a role; members can be groups and roles themselves.

    Attributes:
        expires_at: When it ends; None for never.
    """

    container: str
    member: str
    added_by: str
    added_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PolicyTag:
    """A label that grants can name. What is inside an object has its tags too, unless it has its own of that name.

    Attributes:
        column: The column that is labelled; empty for the object as a whole.
        mask: What is seen of the column by whoever has no grant that says otherwise; empty for its values.
    """

    kind: SecurableKind
    securable_id: UUID
    securable_name: str
    column: str
    name: str
    value: str
    set_by: str
    set_at: datetime
    mask: str = ""

    @property
    def on(self) -> str:
        """The object, as people name it."""
        return str(Securable(self.kind, self.securable_name))


@dataclass(frozen=True, slots=True, eq=False)
class Viewer:
    """Somebody who asks, with what is the same for every object. One asks once: no two are equal.

    Attributes:
        principals: Who that is, with all groups and roles.
        now: When: grants that have ended by then are not there.
        on_lake: The privileges held on the whole lake.
        conditional: The grants that are about the datasets with certain tags only.
        reading: The grants on the lake to read everything in it.
        stands_in: For whom he decides as a deputy; of no count except for what is asked about a duty.
    """

    principals: frozenset[str]
    now: datetime
    on_lake: frozenset[Privilege]
    conditional: tuple[Grant, ...]
    reading: tuple[Grant, ...] = ()
    stands_in: tuple[StandIn, ...] = ()

    def owns(self, owner: str) -> bool:
        """Tell whether an owner is the viewer, or a group or role that the viewer is in."""
        return bool(owner) and whole_principal(owner) in self.principals

    def sees_all(self, privilege: Privilege) -> bool:
        """Tell whether the viewer holds a privilege on everything in the lake."""
        return not self.on_lake.isdisjoint(sufficient_for(privilege))

    def standing_in(self, within: Collection[UUID], asker: str) -> Iterator[StandIn]:
        """Yield for whom the viewer decides about what somebody asks for; for nobody if he or the owner asks.

        Args:
            within: The ids of the object that it is about, and of what that is inside of, the lake's among them.
            asker: Who asks.
        """
        if not self.owns(asker):
            yield from (one for one in self.stands_in if one.on in within and not one.viewer.owns(asker))


@dataclass(frozen=True, slots=True)
class StandIn:
    """An owner for whom a viewer decides as a deputy.

    Attributes:
        owner: Who that is.
        viewer: The owner, with what he may do now by himself.
        kind, on: The object inside of which, by its id.
    """

    owner: str
    viewer: Viewer
    kind: SecurableKind
    on: UUID


def check_held(
    held: frozenset[Privilege], wanted: Iterable[Privilege], on: Securable, *, principal: str, owner: str = ""
) -> None:
    """Refuse somebody who lacks a privilege.

    Args:
        held: What he holds on the object.
        wanted: What he needs.
        on: The object.
        principal: Who that is.
        owner: Whose the object is.

    Raises:
        AccessDeniedError: Naming who lacks what on which object, and whom to ask.
    """
    lacking = next((one for one in wanted if one not in held), None)
    if lacking is None:
        return
    somebody, whom = whole_principal(principal), f"Its owner, {owner}," if owner else "An administrator of the lake"
    raise AccessDeniedError(
        f"{somebody} may not {_VERBS[lacking]} {on.described}.",
        hint=f"Ask for it: cordillera access request {on} {lacking} --purpose 'WHAT FOR'. {whom} decides.",
        details={"principal": somebody, "privilege": lacking.value, "on": str(on)},
    )


_VERBS = {
    Privilege.DISCOVER: "see all of",
    Privilege.READ: "read",
    Privilege.WRITE: "write to",
    Privilege.ALTER: "alter",
    Privilege.CREATE: "create anything in",
    Privilege.EXTERNAL_USE: "get credentials for",
    Privilege.ADMINISTER: "administer",
}
