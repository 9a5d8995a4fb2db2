"""Where settings come from, and what becomes of places that are written relative to something."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.app import create_lake, open_lake
from cordillera.errors import InvalidConfigurationError
from cordillera.settings import Settings, load_settings, write_settings_file
from tests.servers_s3 import S3Server

ROWS = pa.table({"id": [1, 2]})


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/lake.db"


def fill(folder: Path) -> None:
    with cordillera.create(folder) as lake:
        lake.create_namespace("sales")
        lake.create_dataset("sales.orders", ROWS.schema).write(ROWS)


# --- what goes first ------------------------------------------------------------------------------------------------


def test_a_lake_is_made_where_its_arguments_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORDILLERA_METADATA_URL", url(tmp_path / "variable"))
    monkeypatch.setenv("CORDILLERA_STORAGE_ROOT", str(tmp_path / "variable"))
    (tmp_path / "argument").mkdir()
    argument = {"metadata_url": url(tmp_path / "argument"), "storage_root": str(tmp_path / "argument")}
    with cordillera.create(tmp_path / "lake", **argument) as lake:
        assert lake.backend.info().storage_root == f"file://{tmp_path}/argument"
    assert (tmp_path / "argument" / "lake.db").exists()
    assert not (tmp_path / "variable").exists()
    monkeypatch.undo()
    with cordillera.open(tmp_path / "lake") as lake:
        assert lake.backend.info().storage_root == f"file://{tmp_path}/argument"


def test_a_lake_is_made_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "variable").mkdir()
    monkeypatch.setenv("CORDILLERA_METADATA_URL", url(tmp_path / "variable"))
    cordillera.create(tmp_path / "lake").close()
    assert (tmp_path / "variable" / "lake.db").exists()
    assert "metadata_url" not in (tmp_path / "lake" / "cordillera.toml").read_text(), "it may hold a password"


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cordillera.toml").write_text('name = "file"\nmemory_limit = "2GB"\nthreads = 3\n')
    monkeypatch.setenv("CORDILLERA_MEMORY_LIMIT", "3GB")
    settings = load_settings(tmp_path, threads=4)
    assert (settings.name, settings.memory_limit, settings.threads) == ("file", "3GB", 4)


# --- relative places ------------------------------------------------------------------------------------------------


def test_relative_places_of_a_new_lake_count_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "meta").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    made = cordillera.create(tmp_path / "lake", metadata_url="sqlite:///meta/lake.db", storage_root="./data")
    root = made.backend.info().storage_root
    made.close()
    assert root == f"file://{tmp_path}/here/data"
    monkeypatch.chdir(tmp_path)
    with cordillera.open("lake") as lake:
        assert lake.backend.info().storage_root == root


def test_relative_places_in_the_file_count_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lake"
    fill(folder)
    file = folder / "cordillera.toml"
    file.write_text(file.read_text() + 'storage_root = "data"\nmetadata_url = "sqlite:///lake.db"\n')
    monkeypatch.chdir(tmp_path)
    with cordillera.open(folder) as lake:
        assert lake.dataset("sales.orders").scan().to_arrow() == ROWS


@pytest.mark.parametrize(
    "place", ["s3://bucket/folder", "file:///srv/lake", "/srv/lake", "postgresql://me@host/lake", "sqlite://"]
)
def test_whole_places_stay_as_they_are(tmp_path: Path, place: str) -> None:
    name = "metadata_url" if "sql" in place else "storage_root"
    (tmp_path / "cordillera.toml").write_text(f'{name} = "{place}"\n')
    found = getattr(load_settings(tmp_path), name)
    assert place == (found if name == "storage_root" else found.get_secret_value())


# --- a folder that has moved ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [shutil.move, shutil.copytree])
def test_a_lake_that_was_moved_or_copied_says_so_when_it_is_opened(tmp_path: Path, way: object) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    fill(before)
    way(before, after)
    with pytest.raises(InvalidConfigurationError) as caught:
        cordillera.open(after)
    assert str(before / "data") in caught.value.message
    assert str(after / "data") in caught.value.message
    assert "moved or copied" in caught.value.message
    assert "link" in caught.value.hint


def test_a_link_in_the_old_place_makes_a_moved_lake_work(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    fill(before)
    before.rename(after)
    before.symlink_to(after)
    for folder in (before, after):
        with cordillera.open(folder) as lake:
            orders = lake.dataset("sales.orders")
            orders.write(ROWS)
            assert orders.metadata_location.startswith(f"file://{before}/data/")
            assert Path(orders.metadata_location.removeprefix("file://")).is_file()
    with cordillera.open(after) as lake:
        assert lake.dataset("sales.orders").scan().to_arrow().num_rows == 6


def test_a_backup_in_the_place_of_the_lake_is_the_lake(tmp_path: Path) -> None:
    folder, backup = tmp_path / "lake", tmp_path / "backup"
    fill(folder)
    shutil.copytree(folder, backup)
    with cordillera.open(folder) as lake:
        lake.dataset("sales.orders").write(ROWS)
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
    with cordillera.open(folder) as lake:
        assert lake.dataset("sales.orders").scan().to_arrow() == ROWS
        assert [one for one in lake.backend.examine() if one.verdict == "error"] == []


def test_another_storage_root_than_the_lakes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "lake")
    monkeypatch.setenv("CORDILLERA_STORAGE_ROOT", "s3://bucket/lake")
    monkeypatch.setenv("CORDILLERA_S3_REGION", "eu-north-1")
    with pytest.raises(InvalidConfigurationError) as caught:
        open_lake(tmp_path / "lake")
    assert "s3://bucket/lake" in caught.value.message
    assert caught.value.hint == f"If storage_root was changed, set it to {tmp_path}/lake/data again."


# --- S3 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "style"), [("", "path"), ("true", "path"), ("false", "virtual")])
def test_the_addressing_of_buckets_is_what_the_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, style: str
) -> None:
    if given:
        monkeypatch.setenv("CORDILLERA_S3_PATH_STYLE", given)
    places = {"storage_root": "s3://bucket/lake", "s3_endpoint": "https://store.example.com", "s3_region": "eu-north-1"}
    with create_lake(tmp_path / "lake", **places) as app:
        assert app.settings.s3_path_style == (style == "path")
        assert app.storage._client.meta.config.s3["addressing_style"] == style
        assert app.storage._config.path_style == (style == "path")


def test_a_store_that_needs_path_style_works_by_default(tmp_path: Path, s3_server: S3Server) -> None:
    assert Settings.model_fields["s3_path_style"].default is True
    storage = {
        "storage_root": f"s3://{s3_server.bucket}/settings",
        "s3_endpoint": s3_server.endpoint,
        "s3_access_key": s3_server.access_key,
        "s3_secret_key": s3_server.secret_key,
    }
    with create_lake(tmp_path / "lake", **storage) as app:
        app.namespaces.create("sales")
        assert {finding.verdict for finding in app.doctor.examine()} == {"ok"}


def test_secrets_are_not_written(tmp_path: Path) -> None:
    values = {
        "metadata_url": "postgresql+psycopg://lake:hunter2@db.example.com:5432/lake",
        "s3_secret_key": "hunter3",
        "s3_access_key": "key",
    }
    write_settings_file(tmp_path, values)
    text = (tmp_path / "cordillera.toml").read_text()
    assert "hunter" not in text
    assert 'metadata_url = "postgresql+psycopg://lake@db.example.com:5432/lake"' in text
