"""Migrations of the metadata database, run by Alembic without a configuration file.

Every opening of a lake compares revisions, which needs no Alembic; it takes long to import, so only ``migrate`` does.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cordillera.adapters.db.engine import LOCK_TIMEOUT, Database
from cordillera.adapters.db.failures import MIGRATE_HINT
from cordillera.adapters.db.session import Session, open_session
from cordillera.errors import InvalidConfigurationError, SchemaTooNewError

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0012",
    "0013",
    "0016",
    "0015",
    "0018",
    "0019",
    "0014",
    "0020",
    "0021",
    "0029",
    "0030",
    "0031",
    "0034",
    "0032",
    "0035",
    "0036",
    "0041",
    "0033",
    "0044",
    "0042",
    "0045",
    "0046",
    "0048",
    "0047",
    "0043",
    "0050",
    "0053",
    "0063",
    "0056",
    "0054",
    "0055",
    "0068",
    "0065",
    "0066",
    "0067",
    "0074",
    "0071",
    "0073",
    "0069",
    "0077",
    "0078",
    "0079",
    "0080",
)
"""The revisions of this release, oldest first; the files in ``migrations/versions`` have the same."""

_ADVISORY_LOCK = 0x636F7264696C6C65  # "cordille"; any number that nothing else in the database locks
_PATIENCE = 600
"""Seconds to wait for another process that is migrating."""

_alembic = Lock()  # it keeps the migration under way in global state


def migrate(database: Database) -> None:
    """Bring the schema up to this release's, in one transaction. Of several processes at once, one does it.

    Raises:
        SchemaTooNewError: If a newer release has migrated the database already.
    """
    with _alembic, open_session(database, database.writer) as session:
        _wait_for_others(session)
        current = _revision(session)
        _check_known(current, database)
        if current != REVISIONS[-1]:
            from alembic import command

            config = _config()
            config.attributes["connection"] = session.connection
            with session.translated():
                command.upgrade(config, "head")


def check_schema(database: Database) -> None:
    """Make sure that the schema is this release's.

    Raises:
        SchemaTooNewError: If it is newer.
        InvalidConfigurationError: If it is older or empty.
    """
    current = None
    if database.file is None or database.file.exists():  # connecting would make an empty file
        with open_session(database, database.reader) as session:
            current = _revision(session)
    _check_known(current, database)
    if current != REVISIONS[-1]:
        stands = f"is at revision {current}" if current else "is empty"
        raise InvalidConfigurationError(
            f"The metadata database {database.label} {stands}; this release needs {REVISIONS[-1]}.", hint=MIGRATE_HINT
        )


def _wait_for_others(session: Session) -> None:
    if session.is_postgres:
        session.allow_long_statements()
        session.write(sa.text(f"SET LOCAL lock_timeout = '{_PATIENCE}s'"))
        session.write_rows(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        session.write(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'"))


def _revision(session: Session) -> str | None:
    """Return where Alembic says that the database stands; None for one that was never migrated."""
    with session.translated():
        if not sa.inspect(session.connection).has_table("alembic_version"):
            return None
        found = session.connection.execute(sa.text("SELECT version_num FROM alembic_version ORDER BY 1 DESC"))
        revision: str | None = found.scalar()
        return revision


def _check_known(revision: str | None, database: Database) -> None:
    if revision is not None and revision not in REVISIONS:
        raise SchemaTooNewError(
            f"The metadata database {database.label} is at revision {revision}; this release knows up to "
            f"{REVISIONS[-1]}.",
            hint="Use the release of Cordillera that migrated it, or a newer one.",
        )


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
