"""What is hard to undo is announced with --dry-run, confirmed with --yes, and refused where nobody can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.furniture import Furniture
from tests.cli.harness import Cli, Result

GUARDED = {
    "namespace delete": ("spare", "The namespace spare, which holds nothing, would be deleted."),
    "dataset delete": ("sales.orders", "These depend on it: job:sales.daily, job:sales.spare, target:analysts:orders"),
    "dataset delete-rows": ("sales.orders --where country='PE'", "2 rows of sales.orders would be deleted."),
    "branch drop": ("sales.second droppable", "The branch droppable of sales.second would be dropped."),
    "tag drop": ("sales.rolled droppable", "The tag droppable of sales.rolled would be dropped."),
    "dataset upgrade": ("sales.second", "sales.second would have Iceberg format version 3, which cannot be undone."),
    "view drop": ("sales.totals", "The view sales.totals would be dropped."),
    "subscription revoke": ("{subscription}", "the table orders in analysts would stay as it is, unless the contract"),
    "subscription skip": (
        "{subscription} --last 99 --reason late",
        "to 99 changed would not be delivered to analysts.",
    ),
    "job delete": ("sales.daily", "The job sales.daily and its 2 runs would be deleted; the dataset sales.daily would"),
}


@pytest.fixture
def guarded(furniture: Furniture, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("CORDILLERA_LAKE", str(furniture.folder))

    def run(command: str, *further: str) -> Result:
        arguments = GUARDED[command][0].replace("{subscription}", furniture.subscription)
        return cli(*command.split(), *arguments.split(), *further)

    return run


def everything(cli: Cli) -> list[object]:
    lists = [
        "namespace list",
        "dataset list",
        "snapshot list sales.orders",
        "subscription list",
        "job list",
        "view list",
    ]
    return [cli(*one.split(), "--all", "--output", "json").json() for one in lists]


@pytest.mark.parametrize("command", GUARDED)
def test_a_dry_run_says_what_would_happen_and_changes_nothing(command: str, guarded: object, cli: Cli) -> None:
    before = everything(cli)
    result = guarded(command, "--dry-run")
    assert result.code == 0, result.err
    assert GUARDED[command][1] in result.out
    assert result.err == "Nothing was changed (--dry-run).\n"
    assert everything(cli) == before


@pytest.mark.parametrize("command", GUARDED)
def test_without_a_terminal_it_has_to_be_confirmed(command: str, guarded: object, cli: Cli) -> None:
    before = everything(cli)
    result = guarded(command)
    assert result.code == 2
    assert GUARDED[command][1] in result.err
    assert "Add --yes to go ahead" in result.err
    assert everything(cli) == before


def test_a_dry_run_goes_before_yes(orders: Path, cli: Cli) -> None:
    cli("dataset", "delete", "sales.orders", "--dry-run", "--yes")
    assert cli("dataset", "show", "sales.orders").code == 0


def test_a_dry_run_tells_that_it_would_be_refused(orders: Path, cli: Cli) -> None:
    result = cli("namespace", "delete", "sales", "--dry-run")
    assert "would be refused: it holds sales.orders" in result.out


def test_a_dry_run_of_what_does_not_exist_fails(orders: Path, cli: Cli) -> None:
    assert cli("dataset", "delete", "sales.nothing", "--dry-run").code == 3
    assert cli("dataset", "delete-rows", "sales.orders", "--where", "nothing = 1", "--dry-run").code == 2
    assert cli("job", "delete", "sales.nothing", "--dry-run").code == 3


def test_revoking_can_remove_the_table(furniture: Furniture, cli: Cli) -> None:
    import duckdb

    def tables() -> set[str]:
        with duckdb.connect(str(furniture.files / "analysts.duckdb"), read_only=True) as database:
            return {name for (name,) in database.sql("SELECT table_name FROM information_schema.tables").fetchall()}

    lake = ("--lake", furniture.folder)
    kept, removed = furniture.spare_subscriptions[0], furniture.spare_subscriptions[2]
    assert {"spare_0", "spare_2"} <= tables()
    assert cli("subscription", "revoke", kept, "--yes", *lake).code == 0
    assert cli("subscription", "revoke", removed, "--yes", "--delete-rows", *lake).code == 0
    assert cli("worker", "--until-idle", *lake).code == 0
    assert "spare_0" in tables()
    assert "spare_2" not in tables()
