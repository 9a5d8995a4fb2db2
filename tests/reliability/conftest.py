"""Where a lake can be: in its folder, or on PostgreSQL and S3."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.servers_s3 import S3Server


@pytest.fixture
def storage_root(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place on S3, with the environment set for it."""
    monkeypatch.setenv("CORDILLERA_S3_ENDPOINT", s3_server.endpoint)
    monkeypatch.setenv("CORDILLERA_S3_ACCESS_KEY", s3_server.access_key)
    monkeypatch.setenv("CORDILLERA_S3_SECRET_KEY", s3_server.secret_key)
    monkeypatch.setenv("CORDILLERA_S3_PATH_STYLE", "true")
    return f"s3://{s3_server.bucket}/{uuid4().hex}"
