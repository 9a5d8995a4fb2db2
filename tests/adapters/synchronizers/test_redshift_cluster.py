"""The synchronizer of Amazon Redshift on a real cluster: collected only where CORDILLERA_TEST_REDSHIFT_HOST is set.

CONTRIBUTING.md has the environment variables. Every test gets a schema of its own, which it removes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.adapters.synchronizers.redshift_session import Place, open_session
from cordillera.adapters.synchronizers.redshift_types import MOST_TEXT_BYTES
from cordillera.ports.synchronizer import Synchronizer
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_suite import SynchronizerSuite

_VARIABLE = "CORDILLERA_TEST_REDSHIFT_{}"


def settings() -> dict[str, str]:
    found = {name: os.environ[_VARIABLE.format(name.upper())] for name in ("host", "database", "user")}
    found |= {name: os.environ[_VARIABLE.format(name.upper())] for name in ("staging", "iam_role")}
    port = os.environ.get(_VARIABLE.format("PORT"), "5439")
    return {**found, "port": port, "password_env": _VARIABLE.format("PASSWORD")}


def administer(statement: str) -> None:
    config = settings()
    place = Place(config["host"], int(config["port"]), config["database"], config["user"])
    with closing(open_session(place, os.environ[config["password_env"]])) as session, session.transaction():
        session.run(statement)


class TestRedshiftCluster(HistorySuite, SynchronizerSuite):
    longest_text = MOST_TEXT_BYTES

    @pytest.fixture
    def synchronizer(self) -> Iterator[Synchronizer]:
        schema = f"cordillera_test_{uuid4().hex}"
        administer(f"CREATE SCHEMA {schema}")
        yield build_synchronizer("redshift", {**settings(), "schema": schema})
        administer(f"DROP SCHEMA {schema} CASCADE")
