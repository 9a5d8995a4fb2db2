"""How warehouses are to show the tables that a target points at, and how Amazon Redshift Spectrum comes to do so."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cordillera.errors import InvalidInputError, InvalidNameError

DEFAULT_ROLE = "default"
"""Stands for the IAM role that a warehouse itself has been given."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,126}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,512}")


@dataclass(frozen=True, slots=True)
class ExternalSchema:
    """How a warehouse is to show the tables that a target points at.

    Attributes:
        name: What the schema is called there; empty where the target's settings say so.
        iam_role: ARN of the role that reads catalog and files, or ``default`` for the warehouse's own.
        readers: Roles of the warehouse that may read it.
    """

    name: str = ""
    iam_role: str = DEFAULT_ROLE
    readers: tuple[str, ...] = ()


def external_schema_statements(wanted: ExternalSchema, *, database: str, region: str) -> tuple[str, ...]:
    """Return what makes an external schema of a database and lets roles read it. Repeating them does no harm.

    Tables of an external schema have no privileges of their own: whoever may use the schema reads what its IAM role
    may read.

    Args:
        wanted: The schema.
        database: The database in Glue.
        region: Its region; empty for the warehouse's own.

    Raises:
        InvalidNameError: If the schema or a role of Redshift cannot be called so.
        InvalidInputError: If the IAM role is none.
    """
    for name in (wanted.name, *wanted.readers):
        if not _NAME.fullmatch(name):
            raise InvalidNameError(
                f"{name[:60]!r} cannot be the name of a schema or role of Redshift here.",
                hint="Use letters, digits and _, beginning with a letter, at most 127.",
            )
    role = DEFAULT_ROLE if wanted.iam_role == DEFAULT_ROLE else literal(check_role(wanted.iam_role))
    made = [
        f'CREATE EXTERNAL SCHEMA IF NOT EXISTS "{wanted.name}"',
        "FROM DATA CATALOG",
        f"DATABASE {literal(database)}",
    ]
    made += [f"REGION {literal(region)}"] if region else []
    made.append(f"IAM_ROLE {role}")
    usage = (f'GRANT USAGE ON SCHEMA "{wanted.name}" TO ROLE "{reader}"' for reader in wanted.readers)
    return ("\n".join(made), *usage)


def check_role(role: str) -> str:
    """Return the ARN of an IAM role.

    Raises:
        InvalidInputError: If it is none.
    """
    if not _ROLE.fullmatch(role):
        raise InvalidInputError(
            f"{role[:120]!r} is no ARN of an IAM role.",
            hint=f"Write it as arn:aws:iam::123456789012:role/NAME, or {DEFAULT_ROLE} for a warehouse's own.",
        )
    return role


def literal(text: str) -> str:
    """Return text as a string literal of warehouses in which a backslash escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
