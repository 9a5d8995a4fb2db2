"""Why somebody may do something, or may not; and who acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cordillera.spec.access import Privilege


@dataclass(frozen=True, slots=True)
class AccessReason:
    """One thing that gives somebody a privilege on an object, or nearly does.

    Attributes:
        holds: Whether it does.
        via: Who holds it: the principal, and behind him the groups and roles that lead to its holder.
        privilege: What the holder has.
        on: What he has it on: the object, or what that is inside of.
        tag_expression: Of the datasets inside, those it is about.
        expires_at: When it ends.
        note: Where it comes from; or why it does not hold.
        row_filter: The rows that it lets be read; empty for all.
        masks: What it shows of columns in the place of their values.
    """

    holds: bool
    via: tuple[str, ...]
    privilege: Privilege
    on: str
    tag_expression: str
    expires_at: datetime | None
    note: str
    row_filter: str = ""
    masks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccessExplanation:
    """Whether somebody holds a privilege on an object, and why.

    Attributes:
        allowed: Whether he does; to read, also if it is only some rows, or with some columns masked.
        narrowed: Whether it is only that.
        tags: The policy tags that count for the object.
        reasons: What gives the privilege, and what nearly does.
    """

    principal: str
    privilege: Privilege
    on: str
    allowed: bool
    narrowed: bool
    tags: Mapping[str, str]
    reasons: tuple[AccessReason, ...]


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """Who acts.

    Attributes:
        member_of: The groups and roles he is in, one through another too.
        operator: Whether he runs the lake, and may do everything.
        read_only: Whether he must change nothing, whatever he may do.
        expires_at: When what he has logged in with ends.
    """

    principal: str
    member_of: tuple[str, ...]
    operator: bool
    read_only: bool
    expires_at: datetime | None = None
