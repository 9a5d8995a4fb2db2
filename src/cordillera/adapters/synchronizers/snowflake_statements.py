"""The statements by which Snowflake reads tables of the lake where they are.

A table of Snowflake that is made of a metadata file names it by its path from where the external volume begins. The
comment tells people what the table is, and its last line whose: nothing but that subscription changes or drops it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from cordillera.errors import InvalidInputError, InvalidNameError, NotAllowedError
from cordillera.ports.pointing import Pointer
from cordillera.spec.external_schema import DEFAULT_ROLE, ExternalSchema, check_role, literal

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_OURS = re.compile(r"cordillera\.subscription=([0-9a-f-]{36})(?: .*)?")
_LONGEST_DESCRIPTION = 2048
_READERS_PRIVILEGES = (
    "GRANT USAGE ON DATABASE {database} TO ROLE {role}",
    "GRANT USAGE ON SCHEMA {schema} TO ROLE {role}",
    "GRANT SELECT ON ALL ICEBERG TABLES IN SCHEMA {schema} TO ROLE {role}",
    "GRANT SELECT ON FUTURE ICEBERG TABLES IN SCHEMA {schema} TO ROLE {role}",
)
_OWN_PRIVILEGES = (
    "GRANT USAGE ON EXTERNAL VOLUME {volume} TO ROLE {role}",
    "GRANT USAGE ON INTEGRATION {catalog} TO ROLE {role}",
    "GRANT USAGE ON DATABASE {database} TO ROLE {role}",
    "GRANT USAGE, CREATE ICEBERG TABLE ON SCHEMA {schema} TO ROLE {role}",
)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where tables of Snowflake are kept that read a lake's files. Names are as Snowflake keeps them, in capitals.

    Attributes:
        database: The database.
        schema: The schema in it.
        volume: The external volume by which Snowflake reads files.
        catalog: The catalog integration, for Iceberg's files in an object store.
        root: Where the volume begins: ``s3://bucket/folder``, without a slash at the end.
        role: Who makes the tables.
    """

    database: str
    schema: str
    volume: str
    catalog: str
    root: str
    role: str

    def __str__(self) -> str:
        return f"{self.database}.{self.schema}"

    @property
    def quoted_schema(self) -> str:
        """The schema's whole name in SQL."""
        return f"{quote(self.database)}.{quote(self.schema)}"

    def table(self, name: str) -> str:
        """Return the whole name in SQL of a table."""
        return f"{self.quoted_schema}.{quote(fold(name, 'table'))}"

    def path(self, location: str) -> str:
        """Return where a file is, counted from the beginning of the volume.

        Raises:
            NotAllowedError: If the volume does not reach there.
        """
        if not location.startswith(f"{self.root}/"):
            raise NotAllowedError(
                f"Snowflake cannot read a table from outside the external volume, which begins at {self.root}.",
                hint="Give the target the root of the lake's storage on S3, or use a target that rows are carried to.",
            )
        return location[len(self.root) + 1 :]


def fold(name: str, kind: str) -> str:
    """Return a name as Snowflake keeps one that nobody quotes.

    Raises:
        InvalidNameError: If it would have to be quoted.
    """
    if not _NAME.fullmatch(name):
        raise InvalidNameError(
            f"A {kind} of Snowflake cannot be called {name[:60]!r} here.",
            hint="Use letters, digits and _, beginning with a letter, at most 255.",
        )
    return name.upper()


def quote(name: str) -> str:
    """Return a folded name as SQL."""
    return f'"{name}"'


def lake_location(told: str) -> str:
    """Return a file's place as the lake spells it, of one that Snowflake tells: to it, S3 has several schemes."""
    scheme, separator, place = told.partition("://")
    return f"s3://{place}" if separator and scheme.startswith("s3") else told


# --- tables ---------------------------------------------------------------------------------------------------------


def create(shelf: Shelf, pointer: Pointer) -> str:
    """Return what makes a table of a metadata file; it fails where a table of that name is."""
    return (
        f"CREATE ICEBERG TABLE {shelf.table(pointer.name)} EXTERNAL_VOLUME = {literal(shelf.volume)} "
        f"CATALOG = {literal(shelf.catalog)} METADATA_FILE_PATH = {literal(shelf.path(pointer.metadata_location))} "
        f"COMMENT = {literal(comment(pointer))}"
    )


def refresh(shelf: Shelf, pointer: Pointer) -> str:
    """Return what lets a table be of another metadata file."""
    return f"ALTER ICEBERG TABLE {shelf.table(pointer.name)} REFRESH {literal(shelf.path(pointer.metadata_location))}"


def describe(shelf: Shelf, pointer: Pointer) -> str:
    """Return what sets a table's comment."""
    return f"COMMENT ON TABLE {shelf.table(pointer.name)} IS {literal(comment(pointer))}"


def drop(shelf: Shelf, name: str) -> str:
    """Return what removes a table; the files stay."""
    return f"DROP ICEBERG TABLE IF EXISTS {shelf.table(name)}"


def show(shelf: Shelf, name: str) -> str:
    """Return the query for the tables called so, and others: in a pattern ``_`` is any character."""
    return f"SHOW ICEBERG TABLES LIKE {literal(fold(name, 'table'))} IN SCHEMA {shelf.quoted_schema}"


def named_file(shelf: Shelf, name: str) -> str:
    """Return the query for the metadata file that a table is of."""
    return f'SELECT SYSTEM$GET_ICEBERG_TABLE_INFORMATION({literal(shelf.table(name))}) AS "information"'


def comment(pointer: Pointer) -> str:
    """Return what a table says about itself, to people and to whoever is about to change it."""
    text = pointer.description
    text = text if len(text) <= _LONGEST_DESCRIPTION else f"{text[: _LONGEST_DESCRIPTION - 1]}…"
    whose = f"cordillera.subscription={pointer.subscription_id}"
    origin = f"cordillera.lake={pointer.origin.lake} cordillera.dataset={pointer.origin.dataset}"
    return "\n".join([*([text] if text else []), f"{whose} {origin}"])


def is_of(told: str, subscription_id: UUID) -> bool:
    """Tell by its comment whether a table is a subscription's."""
    found = _OURS.fullmatch(told.rpartition("\n")[2])
    return found is not None and found[1] == str(subscription_id)


# --- what whoever administers the account runs ----------------------------------------------------------------------


def checks(shelf: Shelf) -> tuple[str, ...]:
    """Return the statements that fail unless tables could be made."""
    return (
        f"DESCRIBE EXTERNAL VOLUME {quote(shelf.volume)}",
        f"DESCRIBE CATALOG INTEGRATION {quote(shelf.catalog)}",
        f"SHOW ICEBERG TABLES IN SCHEMA {shelf.quoted_schema} LIMIT 1",
    )


def external_schema(shelf: Shelf, wanted: ExternalSchema) -> tuple[str, ...]:
    """Return what makes volume, integration and schema, and lets roles use them. Repeating it does no harm.

    Raises:
        InvalidNameError: If the schema is to have another name than the target's, or a reader cannot be a role.
        InvalidInputError: If the IAM role is none.
    """
    if wanted.name and fold(wanted.name, "schema") != shelf.schema:
        raise InvalidNameError(
            f"The target keeps its tables in the schema {shelf.schema} of Snowflake, not in {wanted.name[:60]!r}.",
            hint="Leave the name out, or create a target for that schema.",
        )
    if wanted.iam_role == DEFAULT_ROLE:
        raise InvalidInputError(
            "Snowflake has no IAM role of its own by which it could read the lake's files.",
            hint="Name one that may read them: --iam-role arn:aws:iam::123456789012:role/NAME.",
        )
    if not check_role(wanted.iam_role).startswith("arn:aws:"):
        raise InvalidInputError(
            f"An external volume for the role {wanted.iam_role[:120]} has to be made by hand.",
            hint="Government's and China's regions have storage providers of their own: see CREATE EXTERNAL VOLUME.",
        )
    names = {"database": quote(shelf.database), "schema": shelf.quoted_schema}
    own = {**names, "volume": quote(shelf.volume), "catalog": quote(shelf.catalog), "role": quote(shelf.role)}
    return (
        f"CREATE EXTERNAL VOLUME IF NOT EXISTS {quote(shelf.volume)}\n"
        "STORAGE_LOCATIONS = ((\n"
        "  NAME = 'lake'\n"
        "  STORAGE_PROVIDER = 'S3'\n"
        f"  STORAGE_BASE_URL = {literal(f'{shelf.root}/')}\n"
        f"  STORAGE_AWS_ROLE_ARN = {literal(wanted.iam_role)}\n"
        "))\n"
        "ALLOW_WRITES = FALSE",
        f"CREATE CATALOG INTEGRATION IF NOT EXISTS {quote(shelf.catalog)}\n"
        "CATALOG_SOURCE = OBJECT_STORE\n"
        "TABLE_FORMAT = ICEBERG\n"
        "ENABLED = TRUE",
        f"CREATE SCHEMA IF NOT EXISTS {shelf.quoted_schema}",
        *(statement.format(**own) for statement in _OWN_PRIVILEGES),
        *(
            statement.format(**names, role=quote(fold(reader, "role")))
            for reader in wanted.readers
            for statement in _READERS_PRIVILEGES
        ),
    )
