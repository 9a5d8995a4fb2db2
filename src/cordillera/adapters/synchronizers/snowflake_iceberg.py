"""Keeps Iceberg tables of Snowflake of the lake's newest files, so that Snowflake reads them where they are.

A table is made of a metadata file, by a catalog integration for files in an object store, and refreshed with the next
one after a commit: Snowflake asks nobody else what a table is, and cannot write it. Neither takes a warehouse.

The file that a table is of tells how far it has come, since later files have greater numbers; its comment tells whose
it is. No statement of Snowflake's has a condition, so whoever refreshes a table looks before and after: an earlier file
takes the place of a later one only if a worker stands still between the two for so long that another has taken over,
and until the next delivery.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from pyiceberg.schema import Schema

from cordillera.adapters.synchronizers import snowflake_statements as statements
from cordillera.adapters.synchronizers.snowflake_session import (
    Account,
    Credentials,
    RefusedError,
    Session,
    open_session,
)
from cordillera.adapters.synchronizers.snowflake_statements import Shelf
from cordillera.errors import (
    CordilleraError,
    InvalidConfigurationError,
    InvalidSchemaError,
    TargetDriftError,
    TargetUnreachableError,
)
from cordillera.ports.pointing import Pointer
from cordillera.spec.external_schema import ExternalSchema
from cordillera.spec.table_metadata import metadata_number

_ATTEMPTS = 8
"""How often a table is looked at again while others change it."""
_EXISTS, _MISSING = 2002, 2003
"""Snowflake's errors: something is called so already; there is no such thing, or not for the role that asks."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A table as it is found.

    Attributes:
        location: The metadata file that it is of.
        comment: What it says about itself.
    """

    location: str
    comment: str


class SnowflakeIcebergSynchronizer:
    """Keeps Iceberg tables in one schema of Snowflake.

    Every operation opens a connection of its own, so one object may be used by many threads.

    Args:
        account: Where Snowflake is, and who asks.
        credentials: What that one shows.
        shelf: Where the tables are.
    """

    def __init__(self, account: Account, credentials: Credentials, shelf: Shelf) -> None:
        self._account, self._credentials, self._shelf = account, credentials, shelf

    def __repr__(self) -> str:
        return f"<SnowflakeIcebergSynchronizer: {self._shelf}>"

    def check(self) -> None:
        """Make sure that volume, integration and schema are there for the role, changing nothing."""
        with self._session() as session:
            for statement in statements.checks(self._shelf):
                session.rows(statement)

    def check_pointable(self, name: str, location: str, schema: Schema) -> None:
        """Make sure that names are Snowflake's, and the files where the volume reaches."""
        self._shelf.path(location)
        statements.fold(name, "table")
        seen: dict[str, str] = {}
        for field in schema.fields:
            other = seen.setdefault(field.name.upper(), field.name)
            if other != field.name:
                raise InvalidSchemaError(
                    f"The columns {other!r} and {field.name!r} are one in Snowflake for whoever does not quote them.",
                    hint="Rename one of them.",
                )

    def point(self, pointer: Pointer, *, repair: bool = False) -> bool:
        """Make a table, or have it read a later file; see the port."""
        self.check_pointable(pointer.name, pointer.metadata_location, pointer.metadata.schema)
        changed, taken = False, 0
        with self._session() as session:
            for _ in range(_ATTEMPTS):
                entry = self._entry(session, pointer.name)
                if entry is None:
                    made = self._changed(session, statements.create(self._shelf, pointer), _EXISTS)
                    changed, taken = changed or made, taken + (not made)
                    continue
                self._check_ours(entry, pointer)
                if not self._is_behind(entry, pointer, repair=repair):
                    break
                changed |= self._changed(session, statements.refresh(self._shelf, pointer), _MISSING)
            else:
                raise self._given_up(pointer.name, hidden=taken == _ATTEMPTS)
            if entry.location == pointer.metadata_location and entry.comment != statements.comment(pointer):
                changed |= self._changed(session, statements.describe(self._shelf, pointer), _MISSING)
        return changed

    def points_at(self, subscription_id: UUID, name: str) -> str | None:
        """Return the file that the subscription's table is of."""
        with self._session() as session:
            entry = self._entry(session, name)
        return entry.location if entry and statements.is_of(entry.comment, subscription_id) else None

    def differences(self, pointer: Pointer) -> tuple[str, ...]:
        """Return how the table differs from one that reads a file."""
        with self._session() as session:
            entry = self._entry(session, pointer.name)
        if entry is None:
            raise TargetDriftError(
                f"There is no Iceberg table {pointer.name!r} in {self._shelf} of Snowflake any more.",
                hint="Repair the subscription: the table is made anew.",
            )
        self._check_ours(entry, pointer)
        if entry.location == pointer.metadata_location:
            return ()
        return (f"it is of the metadata file {entry.location}, not {pointer.metadata_location}",)

    def remove(self, subscription_id: UUID, name: str) -> None:
        """Drop the subscription's table; the files stay."""
        with self._session() as session:
            entry = self._entry(session, name)
            if entry and statements.is_of(entry.comment, subscription_id):
                session.rows(statements.drop(self._shelf, name))

    def external_schema(self, wanted: ExternalSchema) -> tuple[str, ...]:
        """Return what whoever administers the account runs before the first delivery."""
        return statements.external_schema(self._shelf, wanted)

    def close(self) -> None:
        """Do nothing: no operation leaves a connection behind."""

    # --- tables -----------------------------------------------------------------------------------------------------

    def _entry(self, session: Session, name: str) -> _Entry | None:
        folded = statements.fold(name, "table")
        shown = [row for row in session.rows(statements.show(self._shelf, name)) if row["name"] == folded]
        if not shown:
            return None
        try:
            found = session.rows(statements.named_file(self._shelf, name))
        except RefusedError as refused:
            if refused.number == _MISSING:  # it has been dropped meanwhile
                return None
            raise
        told = json.loads(found[0]["information"])
        return _Entry(statements.lake_location(str(told.get("metadataLocation", ""))), shown[0]["comment"] or "")

    def _changed(self, session: Session, statement: str, overtaken: int) -> bool:
        """Change something; False where the error says that somebody else has been faster."""
        try:
            session.rows(statement)
        except RefusedError as refused:
            if refused.number != overtaken:
                raise
            return False
        return True

    def _given_up(self, name: str, *, hidden: bool) -> CordilleraError:
        if hidden:
            return TargetDriftError(
                f"Something in {self._shelf} of Snowflake is called {name!r} that is no Iceberg table for the role; it "
                "was left untouched.",
                hint="Subscribe with another table name, or remove it from Snowflake.",
            )
        return TargetUnreachableError(
            f"Others change the table {name!r} in {self._shelf} of Snowflake again and again.",
            hint="The delivery is repeated.",
        )

    def _check_ours(self, entry: _Entry, pointer: Pointer) -> None:
        if not statements.is_of(entry.comment, pointer.subscription_id):
            raise TargetDriftError(
                f"There is a table {pointer.name!r} in {self._shelf} of Snowflake that this subscription did not make; "
                "it was left untouched.",
                hint="Subscribe with another table name, or drop that table in Snowflake.",
            )

    def _is_behind(self, entry: _Entry, pointer: Pointer, *, repair: bool) -> bool:
        """Tell whether a table is to be refreshed: it is of an earlier file, or of none that repairing may leave."""
        if entry.location == pointer.metadata_location:
            return False
        if repair:
            return True
        earlier = {one["metadata-file"] for one in pointer.metadata.metadata_log}
        if entry.location not in earlier and not entry.location.startswith(f"{pointer.metadata.location}/"):
            raise TargetDriftError(
                f"Somebody else refreshed the table {pointer.name!r} in {self._shelf} of Snowflake with "
                f"{entry.location}, which is no file of {pointer.origin.dataset}.",
                hint="Repair and resume the subscription: its table reads the lake's files again.",
            )
        return metadata_number(entry.location) < pointer.number

    # --- connections ------------------------------------------------------------------------------------------------

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = open_session(self._account, self._credentials)
        try:
            yield session
        except RefusedError as refused:
            raise InvalidConfigurationError(
                f"Snowflake refuses what is asked of {self._shelf}: {refused.number:06d}: {refused.told[:500]}",
                hint="Run what cordillera target external-schema prints, as whoever administers the account.",
            ) from None
        finally:
            session.close()
