"""Tables of Snowflake read the lake's files: the real connector on a stand-in, and statements word for word.

No part of this is Snowflake itself; the stand-in takes what its SQL reference says and nothing else.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp
from sqlglot.errors import SqlglotError
from tests.adapters.synchronizers import snowflake_stand_in
from tests.adapters.synchronizers.snowflake_stand_in import (
    TOKEN,
    RefusalError,
    Snowflake,
    StandIn,
    start_stand_in,
)

from cordillera.adapters.synchronizers import build_synchronizer, snowflake_session
from cordillera.adapters.synchronizers.snowflake_iceberg import SnowflakeIcebergSynchronizer
from cordillera.adapters.synchronizers.snowflake_session import Account, RefusedError
from cordillera.adapters.synchronizers.snowflake_statements import Shelf, comment, is_of
from cordillera.errors import (
    InvalidConfigurationError,
    InvalidInputError,
    InvalidNameError,
    MissingExtraError,
    NotAllowedError,
    TargetDriftError,
    TargetUnreachableError,
)
from cordillera.ports.pointing import PointingTarget
from cordillera.spec.external_schema import ExternalSchema
from cordillera.testing.pointing_suite import COLUMNS, OURS, PointingSuite, location, pointer

GOLDEN = Path(__file__).parent / "golden" / "snowflake.sql"
SHELF = Shelf("ANALYTICS", "LAKE", "CORDILLERA", "CORDILLERA", "s3://bucket", "LAKE_LOADER")
IAM_ROLE = "arn:aws:iam::123456789012:role/snowflake"
REQUIRED = ("account", "user", "role", "database", "schema", "root")
KEY = ("ANALYTICS", "LAKE", "ORDERS")
POINTERS = {number: pointer(number) for number in range(1, 14)}

# What sqlglot does not parse, as the pages of Snowflake's SQL reference give its syntax.
NAME, TEXT = r'("\w+"\.)*"\w+"', r"'([^'\\]|''|\\\\)*'"
RECORDED = (
    rf"ALTER ICEBERG TABLE {NAME} REFRESH {TEXT}",
    rf"CREATE EXTERNAL VOLUME IF NOT EXISTS {NAME} STORAGE_LOCATIONS = \(\( NAME = {TEXT} STORAGE_PROVIDER = 'S3' "
    rf"STORAGE_BASE_URL = {TEXT} STORAGE_AWS_ROLE_ARN = {TEXT} \)\) ALLOW_WRITES = FALSE",
    rf"CREATE CATALOG INTEGRATION IF NOT EXISTS {NAME} CATALOG_SOURCE = OBJECT_STORE TABLE_FORMAT = ICEBERG "
    r"ENABLED = TRUE",
    rf"GRANT USAGE ON EXTERNAL VOLUME {NAME} TO ROLE {NAME}",
    rf"GRANT SELECT ON (ALL|FUTURE) ICEBERG TABLES IN SCHEMA {NAME} TO ROLE {NAME}",
    rf"DESCRIBE CATALOG INTEGRATION {NAME}",
)


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with start_stand_in(Snowflake("s3://bucket")) as made:
        yield made


@pytest.fixture
def stand_in(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The server, with an account that has nothing in it."""
    monkeypatch.setattr(server, "account", Snowflake("s3://bucket"))
    monkeypatch.setenv("SNOWFLAKE_KEY", server.pem)
    monkeypatch.setenv("SNOWFLAKE_TOKEN", TOKEN)
    return server


@pytest.fixture
def snowflake(stand_in: StandIn) -> PointingTarget:
    return built(stand_in)


def built(stand_in: StandIn, **given: str) -> PointingTarget:
    wanted = {**stand_in.settings, **(given or {"token_env": "SNOWFLAKE_TOKEN"})}
    made = build_synchronizer("snowflake_iceberg", wanted)
    assert isinstance(made, PointingTarget)
    return made


class Direct(SnowflakeIcebergSynchronizer):
    """Asks an account without a connection, and lets others come in between."""

    def __init__(self, account: Snowflake, between: Iterator[Callable[[], object]] = iter(())) -> None:
        super().__init__(Account("company-lab", "loader", "LAKE_LOADER"), dict, SHELF)
        self.direct, self.between = account, between

    @contextmanager
    def _session(self) -> Iterator[Any]:
        yield self

    def rows(self, statement: str) -> list[dict[str, Any]]:
        next(self.between, lambda: None)()
        try:
            return self.direct.run(statement)
        except RefusalError as refusal:
            raise RefusedError(refusal.number, refusal.told) from None


class TestSnowflakeIcebergSynchronizer(PointingSuite):
    @pytest.fixture
    def target(self, snowflake: PointingTarget) -> PointingTarget:
        return snowflake

    @pytest.fixture
    def elsewhere(self, stand_in: StandIn) -> Callable[[str, str], None]:
        def refresh(name: str, place: str) -> None:
            stand_in.account.tables["ANALYTICS", "LAKE", name.upper()].location = place

        return refresh


def test_whoever_has_a_key_pair_needs_no_token(stand_in: StandIn) -> None:
    assert built(stand_in, private_key_env="SNOWFLAKE_KEY").point(pointer(1))
    assert stand_in.account.tables[KEY].location == location(1)


def test_a_wrong_secret_is_told_and_neither_shown_nor_logged(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SNOWFLAKE_TOKEN", "sesame")
    with pytest.raises(InvalidConfigurationError, match="refuses the user loader") as caught:
        built(stand_in, token_env="SNOWFLAKE_TOKEN").check()
    assert "sesame" not in f"{caught.value!r} {caught.value.hint} {caplog.text}"
    monkeypatch.setenv("SNOWFLAKE_KEY", "sesame")
    with pytest.raises(InvalidConfigurationError, match="no private key") as caught:
        built(stand_in, private_key_env="SNOWFLAKE_KEY").check()
    assert "sesame" not in f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"


def test_what_the_administrator_has_not_made_is_told_with_what_makes_it(stand_in: StandIn) -> None:
    elsewhere = built(stand_in, token_env="SNOWFLAKE_TOKEN", external_volume="other")
    for attempt in (elsewhere.check, lambda: elsewhere.point(pointer(1))):
        with pytest.raises(InvalidConfigurationError, match=r"002003: .*'OTHER' does not exist") as caught:
            attempt()
        assert "external-schema" in caught.value.hint


def test_an_account_that_cannot_be_reached_is_tried_again_later(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snowflake_session, "LOGIN_TIMEOUT_S", 1)
    nobody = built(stand_in, token_env="SNOWFLAKE_TOKEN", endpoint="http://127.0.0.1:9")
    with pytest.raises(TargetUnreachableError, match="account company-lab cannot be reached"):
        nobody.check()


def test_what_is_no_iceberg_table_is_left_untouched(snowflake: PointingTarget, stand_in: StandIn) -> None:
    stand_in.account.others.add("ORDERS")
    with pytest.raises(TargetDriftError, match="'orders' that is no Iceberg table"):
        snowflake.point(pointer(1))
    assert snowflake.points_at(OURS, "orders") is None


def test_files_outside_of_the_volume_are_refused(stand_in: StandIn) -> None:
    inside = built(stand_in, token_env="SNOWFLAKE_TOKEN", root="s3://bucket/sales/")
    inside.check_pointable("orders", location(1), COLUMNS)
    for place in ("s3://bucket/salesman/orders", "s3://bucket/other"):
        with pytest.raises(NotAllowedError, match="outside the external volume"):
            inside.check_pointable("orders", place, COLUMNS)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"account": ""}, "'account' is missing"),
        ({"account": "https://x.snowflakecomputing.com"}, "no account"),
        ({"private_key_env": "SNOWFLAKE_KEY"}, "it has 2"),
        ({"token_env": ""}, "it has 0"),
        ({"root": "/data/lake"}, "cannot be the root"),
        ({"root": "s3://bucket/it's"}, "cannot be the root"),
        ({"password": "x"}, "'password' is unknown"),
        ({"endpoint": "http://snowflake.example.com"}, "unencrypted"),
        ({"endpoint": "snowflake.example.com"}, "no address"),
    ],
)
def test_settings_that_cannot_work_are_refused(stand_in: StandIn, given: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=told):
        built(stand_in, **{"token_env": "SNOWFLAKE_TOKEN", **given})


@pytest.mark.parametrize("name", ["schema", "database", "role", "external_volume", "catalog"])
def test_names_that_would_need_care_are_refused(stand_in: StandIn, name: str) -> None:
    with pytest.raises(InvalidNameError, match="cannot be called"):
        built(stand_in, **{"token_env": "SNOWFLAKE_TOKEN", name: 'x" y'})


def test_a_missing_connector_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cordillera.adapters.synchronizers.snowflake")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "snowflake", None)
    with pytest.raises(MissingExtraError, match=r"cordillera\[snowflake\]"):
        build_synchronizer("snowflake_iceberg", dict.fromkeys(REQUIRED, "x"))


# --- statements -----------------------------------------------------------------------------------------------------


def scripted() -> list[str]:
    """Return the statements of a subscription's life, each once, from what the administrator runs on."""
    account = Snowflake("s3://bucket")
    target = Direct(account)
    made = target.external_schema(ExternalSchema("lake", IAM_ROLE, ("analysts",)))
    target.check()
    target.point(pointer(1, description="What's ordered \\ paid."))
    target.point(pointer(2, description="What's ordered \\ paid."))
    target.point(pointer(2))
    target.remove(OURS, "orders")
    return [*made, *dict.fromkeys(account.statements)]


def test_statements_are_what_they_were() -> None:
    text = ";\n\n".join(scripted()) + ";\n"
    if os.environ.get("TEST_UPDATE_GOLDEN"):
        GOLDEN.write_text(text, "utf-8")
    assert text == GOLDEN.read_text("utf-8"), "TEST_UPDATE_GOLDEN=1 records it anew"


@pytest.mark.parametrize("statement", scripted())
def test_statements_are_snowflakes_sql(statement: str) -> None:
    if any(re.fullmatch(form, " ".join(statement.split())) for form in RECORDED):
        return
    try:
        found = sqlglot.parse_one(statement, dialect="snowflake")
    except SqlglotError as error:
        pytest.fail(f"sqlglot does not parse {statement}: {error}")
    assert not isinstance(found, exp.Command), statement


def test_an_external_schema_needs_a_role_and_is_the_targets_own() -> None:
    target = Direct(Snowflake())
    with pytest.raises(InvalidInputError, match="no IAM role of its own"):
        target.external_schema(ExternalSchema())
    with pytest.raises(InvalidInputError, match="by hand"):
        target.external_schema(ExternalSchema(iam_role="arn:aws-us-gov:iam::123456789012:role/x"))
    with pytest.raises(InvalidNameError, match="schema LAKE of Snowflake, not in 'sales'"):
        target.external_schema(ExternalSchema("sales", IAM_ROLE))
    with pytest.raises(InvalidNameError, match="cannot be called"):
        target.external_schema(ExternalSchema(iam_role=IAM_ROLE, readers=('x"; --',)))


@settings(max_examples=30)
@given(st.text(st.sampled_from("ab'\\\"\n;-é$"), max_size=12))
def test_whatever_people_write_of_a_dataset_is_a_comment_and_nothing_else(description: str) -> None:
    account, described = Snowflake("s3://bucket"), replace(POINTERS[1], description=description)
    Direct(account).point(described)
    assert account.tables[KEY].comment == comment(described)
    assert is_of(account.tables[KEY].comment, OURS)


# --- in memory ------------------------------------------------------------------------------------------------------


class DiedError(Exception):
    """Whoever delivers is gone."""


NUMBERS = st.integers(1, 12)


@settings(max_examples=40)
@given(st.lists(st.tuples(NUMBERS, st.lists(st.one_of(st.none(), NUMBERS), max_size=4)), min_size=1, max_size=6))
def test_whoever_looks_while_others_deliver_or_drop_leaves_a_table_that_can_be_read(
    deliveries: list[tuple[int, list[int | None]]],
) -> None:
    """Between any two statements of a delivery others may deliver all of theirs, or somebody drops the table."""
    account = Snowflake("s3://bucket")

    def others(number: int | None) -> Callable[[], object]:
        return (
            (lambda: Direct(account).remove(OURS, "orders"))
            if number is None
            else (lambda: Direct(account).point(pointer(number)))
        )

    for number, between in deliveries:
        Direct(account, iter([others(one) for one in between])).point(POINTERS[number])
    highest = max(number for number, _ in deliveries)
    Direct(account).point(POINTERS[13])  # the next delivery sees to it that the newest file is read, whatever there was
    assert account.tables[KEY].location == location(13)
    assert not Direct(account).point(POINTERS[highest])
    assert account.tables[KEY].location == location(13)


def test_whoever_dies_between_any_two_statements_is_followed_by_one_who_finishes() -> None:
    for survived in range(9):
        account = Snowflake("s3://bucket")

        def die() -> object:
            raise DiedError

        for number in (1, 2):
            steps = iter([*[lambda: None] * survived, die])
            described = replace(POINTERS[number], description=f"Of {number}.")
            try:
                Direct(account, steps).point(described)
            except DiedError:
                Direct(account).point(described)
            assert account.tables[KEY].location == location(number)
            assert account.tables[KEY].comment == comment(described)


def test_who_is_overtaken_without_end_gives_up_for_now() -> None:
    account = Snowflake("s3://bucket")
    Direct(account).point(pointer(1))
    drops = (lambda: Direct(account).remove(OURS, "orders") for _ in range(60))
    with pytest.raises(TargetUnreachableError, match="again and again"):
        Direct(account, drops).point(pointer(2))


def test_the_stand_in_takes_no_other_statement() -> None:
    for statement in ("SELECT 1", "CREATE ICEBERG TABLE X", 'DROP TABLE "ANALYTICS"."LAKE"."ORDERS"'):
        with pytest.raises(snowflake_stand_in.RefusalError, match="syntax"):
            Snowflake().run(statement)
