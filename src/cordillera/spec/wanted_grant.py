"""What somebody says who gives a privilege."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class WantedGrant:
    """A privilege that is to be given, or renewed, in the words of whoever gives it.

    Attributes:
        principal: Who is to have it: a user, a service, a group or a role.
        privilege: discover, read, write, alter, create, external_use or administer.
        on: The object; what is inside it is covered too.
        tags: A tag expression; then it is about the datasets inside that fulfil it, those to come included.
        grant_option: Whether the holder may grant it on.
        expires_at: When it ends; None for never.
        reason: What for.
        row_filter: Of read on a dataset: SQL condition on the rows that may be read; empty for all.
        masks: What is seen of the dataset's columns, by name; see ``cordillera.spec.masks``.
        tag_masks: The same by tag expressions over the policy tags of columns.
    """

    principal: str
    privilege: str
    on: str
    tags: str = ""
    grant_option: bool = False
    expires_at: datetime | None = None
    reason: str = ""
    row_filter: str = ""
    masks: Mapping[str, str] = field(default_factory=dict)
    tag_masks: Mapping[str, str] = field(default_factory=dict)
