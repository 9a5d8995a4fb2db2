from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cordillera.adapters.storage import build_storage
from cordillera.errors import InvalidConfigurationError

KEYS = {"access_key": "AKID", "secret_key": "sesame-open", "session_token": "token-of-mine"}


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://{path}/", "{path}/sub/.."])
def test_files_by_path_or_uri(tmp_path: Path, form: str) -> None:
    assert build_storage(form.format(path=tmp_path), {}).root == f"file://{tmp_path}"


def test_a_relative_path_counts_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert build_storage("./lake", {}).root == f"file://{tmp_path}/lake"


def test_s3_by_uri() -> None:
    assert build_storage("s3://bucket", {"region": "eu-north-1"}).root == "s3://bucket"
    assert build_storage("s3://bucket/a b/c/", {"region": "eu-north-1"}).root == "s3://bucket/a b/c"


@pytest.mark.parametrize("uri", ["gs://bucket/x", "http://host/x", "S4://x", "memory://lake"])
def test_an_unknown_scheme_names_the_known_ones(uri: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="Known are file, s3"):
        build_storage(uri, {})


@pytest.mark.parametrize("uri", ["", "/", "file:///", "file://", "file://host/share", "file:/tmp/x", "file:x"])
def test_what_cannot_be_a_directory_is_refused(uri: str) -> None:
    with pytest.raises(InvalidConfigurationError):
        build_storage(uri, {})


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "s3:////", "s3://b/../x", "s3://b//x"])
def test_s3_needs_a_bucket_and_a_folder_that_can_be_named(uri: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="names no"):
        build_storage(uri, {"region": "eu-north-1"})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"acess_key": "x"}, "'acess_key'.*access_key, secret_key"),
        ({"access_key": "x"}, "go together"),
        ({"secret_key": "sesame-open"}, "go together"),
        ({"session_token": "token-of-mine"}, "access_key and secret_key"),
        ({"endpoint": "127.0.0.1:8333"}, "http"),
        ({"endpoint": "http://user:sesame-open@host"}, "http"),
        ({"endpoint": "http://host/path"}, "http"),
        ({"path_style": "maybe"}, "true or false"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=complaint) as caught:
        build_storage("s3://bucket", {"region": "eu-north-1", **options})
    assert "sesame" not in str(caught.value)
    assert "token-of" not in str(caught.value)


def test_files_take_no_options(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError, match="region"):
        build_storage(str(tmp_path), {"region": "x"})


def test_aws_needs_a_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(InvalidConfigurationError, match="region"):
        build_storage("s3://bucket", KEYS)


def test_secrets_are_not_shown() -> None:
    shown = repr(build_storage("s3://bucket", {"region": "eu-north-1", **KEYS}))
    assert "AKID" in shown
    assert "sesame" not in shown
    assert "token-of" not in shown


def test_a_missing_boto3_names_the_extra() -> None:
    script = """
import sys
sys.modules["boto3"] = None
from cordillera.adapters.storage import build_storage
from cordillera.errors import MissingExtraError
try:
    build_storage("s3://bucket", {})
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'cordillera[s3]'" in done.stdout


def test_files_need_no_s3_client() -> None:
    script = """
import sys
from cordillera.adapters.storage import build_storage
build_storage("lake", {})
print([name for name in sys.modules if name.startswith(("boto", "pyarrow._s3fs"))])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
