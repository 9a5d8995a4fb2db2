"""Migrations of the metadata database, run by Alembic without a configuration file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cordillera.adapters.db.engine import LOCK_TIMEOUT, Database
from cordillera.adapters.db.failures import MIGRATE_HINT
from cordillera.adapters.db.session import Session, open_session
from cordillera.errors import InvalidConfigurationError, SchemaTooNewError

_ADVISORY_LOCK = 0x636F7264696C6C65  # "cordille"; any number that nothing else in the database locks
_PATIENCE = 600
"""Seconds to wait for another process that is migrating."""

_alembic = Lock()  # it keeps the migration under way in global state


def migrate(database: Database) -> None:
    """Bring the schema up to this release's, in one transaction. Of several processes at once, one does it.

    Raises:
        SchemaTooNewError: If a newer release has migrated the database already.
    """
    with _alembic, open_session(database, writable=True) as session:
        _wait_for_others(session)
        current = _revision(session)
        _check_known(current, database)
        if current != _head():
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
        with open_session(database, writable=False) as session:
            current = _revision(session)
    _check_known(current, database)
    if current != _head():
        stands = f"is at revision {current}" if current else "is empty"
        raise InvalidConfigurationError(
            f"The metadata database {database.label} {stands}; this release needs {_head()}.", hint=MIGRATE_HINT
        )


def _wait_for_others(session: Session) -> None:
    if session.is_postgres:
        session.allow_long_statements()
        session.write(sa.text(f"SET LOCAL lock_timeout = '{_PATIENCE}s'"))
        session.write_rows(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        session.write(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'"))


def _revision(session: Session) -> str | None:
    with session.translated():
        return MigrationContext.configure(session.connection).get_current_revision()


def _check_known(revision: str | None, database: Database) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaTooNewError(
            f"The metadata database {database.label} is at revision {revision}; this release knows up to {_head()}.",
            hint="Use the release of Cordillera that migrated it, or a newer one.",
        )


@cache
def _head() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def _config() -> Config:
    config = Config()
    folder = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
