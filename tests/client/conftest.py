"""A lake, embedded and behind a real server, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cordillera.app import Application, create_lake
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.tokens import administrators_token


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    folder: Path = tmp_path_factory.mktemp("lake")
    with create_lake(folder / "lake") as app:
        yield app


@pytest.fixture(scope="module")
def token(app: Application) -> str:
    return administrators_token(app)


@pytest.fixture(scope="module")
def url(app: Application) -> Iterator[str]:
    with running_server(create_server(app)) as url:
        yield url
