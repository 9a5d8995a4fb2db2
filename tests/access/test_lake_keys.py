"""The lake's own keys give way to others: what they have signed holds for a while, in every process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import OctKey

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.access.keys import LakeKeyService
from cordillera.app import Application, create_lake, open_lake
from cordillera.catalog.lake_keys import new_key, usable_keys
from cordillera.catalog.lookup import Lookup
from cordillera.client import connect
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import (
    AccessDeniedError,
    AuthenticationError,
    CommitConflictError,
    InvalidInputError,
    MetadataStoreBusyError,
    NotAllowedError,
    NotFoundError,
)
from cordillera.ports.metadata import MetadataStore
from cordillera.server import create_server
from cordillera.spec.lake_key import KeyPurpose, KeyState, state_of
from cordillera.testing.metadata_samples import NOW
from cordillera.testing.running_server import running_server
from tests.api.test_auth import LateClock
from tests.tokens import administrators_token

TOKENS = KeyPurpose.ACCESS_TOKENS


@pytest.fixture
def clock() -> LateClock:
    return LateClock()


@pytest.fixture
def app(tmp_path: Path, clock: LateClock) -> Iterator[Application]:
    with create_lake(tmp_path / "lake", clock=clock) as app:
        yield app


def holds(app: Application, secret: str) -> bool:
    try:
        return bool(app.access.authenticate(secret))
    except AuthenticationError:
        return False


def kid(token: str) -> str:
    return str(jws.extract_compact(token.encode()).headers()["kid"])


def issued(app: Application) -> str:
    made = app.access.create_token(f"engine {uuid4()}", principal="user:engine", days=None)
    return app.access.issue(str(made.token.id), made.secret).secret


# --- access tokens --------------------------------------------------------------------------------------------------


def test_what_an_old_key_signed_holds_until_it_retires(app: Application, clock: LateClock) -> None:
    before = issued(app)
    made = app.lake_keys.rotate(TOKENS, keep_hours=1)
    after = issued(app)
    assert kid(after) == str(made.id) != kid(before)
    assert [holds(app, one) for one in (before, after)] == [True, True]
    states = {str(one.id): one.state for one in app.lake_keys.page() if one.purpose is TOKENS}
    assert states == {kid(before): KeyState.RETIRING, kid(after): KeyState.ACTIVE}
    clock.late = timedelta(minutes=59)
    assert [holds(app, before), holds(app, issued(app))] == [True, True]
    retired = app.lake_keys.retire(UUID(kid(before)))
    assert retired.state is KeyState.RETIRED
    assert [holds(app, before), holds(app, after)] == [False, True]


def test_a_key_that_somebody_else_got_is_of_no_use_at_once(app: Application) -> None:
    before = issued(app)
    with app.store.read() as tx:
        stolen = tx.signing_keys.get(UUID(kid(before)))
    assert stolen is not None
    app.lake_keys.rotate(TOKENS, keep_hours=0)
    assert not holds(app, before)
    claims = jwt.decode(before, OctKey.import_key(stolen.secret), ["HS256"]).claims
    for header in ({"alg": "HS256"}, {"alg": "HS256", "kid": kid(issued(app))}, {"alg": "HS256", "kid": "../x"}):
        forged = jwt.encode(header, claims, OctKey.import_key(stolen.secret), ["HS256"])
        assert not holds(app, forged)


def test_a_token_of_an_older_release_names_no_key_and_holds(app: Application) -> None:
    before = issued(app)
    with app.store.read() as tx:
        key = tx.signing_keys.get(UUID(kid(before)))
    assert key is not None
    claims = jwt.decode(before, OctKey.import_key(key.secret), ["HS256"]).claims
    older = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(key.secret), ["HS256"])
    assert holds(app, older)
    app.lake_keys.rotate(TOKENS, keep_hours=1)
    assert holds(app, older)
    app.lake_keys.retire(key.id)
    assert not holds(app, older)


def test_a_key_that_retired_has_its_secret_forgotten_with_the_next_rotation(app: Application, clock: LateClock) -> None:
    first = UUID(kid(issued(app)))
    app.lake_keys.rotate(TOKENS, keep_hours=1)
    clock.late = timedelta(hours=2)
    app.lake_keys.rotate(TOKENS, keep_hours=1)
    with app.store.read() as tx:
        kept = {key.id: bool(key.secret) for key in tx.signing_keys.page(None, 9)}
    assert [kept.pop(first), *kept.values()] == [False, True, True]


# --- everything else that keys are for ------------------------------------------------------------------------------


def test_signing_keys_of_tokens_are_good_for_a_while(app: Application) -> None:
    token = app.access.create_token("engine", principal="user:engine").token
    old = app.access.signing_key(token.id)
    made = app.lake_keys.rotate(KeyPurpose.REQUEST_SIGNATURES)
    new = app.access.signing_key(token.id)
    assert new.access_key_id == old.access_key_id
    assert app.access.signed_by(old.access_key_id)[1] == [new.secret_access_key, old.secret_access_key]
    (retiring,) = [
        one for one in app.lake_keys.page() if one.purpose is KeyPurpose.REQUEST_SIGNATURES and one.id != made.id
    ]
    app.lake_keys.retire(retiring.id)
    assert app.access.signed_by(old.access_key_id)[1] == [new.secret_access_key]


def test_plans_of_scans_that_are_under_way_go_on(app: Application) -> None:
    tokens = app.scan_plans._tokens
    written = tokens.write({"a": 1})
    app.lake_keys.rotate(KeyPurpose.SCAN_PLANS)
    assert tokens.read(written) == {"a": 1}
    app.lake_keys.rotate(KeyPurpose.SCAN_PLANS, keep_hours=0)
    assert tokens.read(written) == {"a": 1}, "the first key retires a day after the second took its place"
    for one in app.lake_keys.page():
        if one.state is KeyState.RETIRING:
            app.lake_keys.retire(one.id)
    assert tokens.read(written) is None


def test_the_key_of_hashes_stays_and_why_is_said(app: Application) -> None:
    with pytest.raises(NotAllowedError, match="copies in targets would neither equal the lake"):
        app.lake_keys.rotate(KeyPurpose.HASHES)


# --- who, and what is said of it ------------------------------------------------------------------------------------


def test_only_an_administrator_sees_and_changes_keys(app: Application) -> None:
    key = UUID(kid(issued(app)))
    with acting("user:engine"):
        for refused in (
            app.lake_keys.page,
            lambda: app.lake_keys.rotate(TOKENS),
            lambda: app.lake_keys.retire(key),
        ):
            with pytest.raises(AccessDeniedError):
                refused()
    assert {one.state for one in app.lake_keys.page()} == {KeyState.ACTIVE}


def test_what_cannot_be_is_refused(app: Application) -> None:
    active = UUID(kid(issued(app)))
    with pytest.raises(NotAllowedError, match="is the one that signs") as caught:
        app.lake_keys.retire(active)
    assert "lake-key rotate access-tokens --keep-hours 0" in caught.value.hint
    with pytest.raises(NotFoundError):
        app.lake_keys.retire(uuid4())
    for hours in (-1, 721):
        with pytest.raises(InvalidInputError):
            app.lake_keys.rotate(TOKENS, keep_hours=hours)
    with pytest.raises(InvalidInputError, match="Use one of: access-tokens"):
        LocalBackend(app).rotate_lake_key("tokens")


def test_secrets_are_neither_told_nor_logged_and_changes_are_in_the_audit_log(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    old = kid(issued(app))
    made = app.lake_keys.rotate(TOKENS, keep_hours=2)
    app.lake_keys.retire(UUID(old))
    app.lake_keys.retire(UUID(old))
    entries = [one for one in app.operations.audit() if one.action.startswith("lake_key.")]
    assert [(one.action, one.object_name, one.details) for one in reversed(entries)] == [
        ("lake_key.rotate", "access-tokens", {"key": str(made.id), "keep_hours": 2, "old_key": old}),
        ("lake_key.retire", "access-tokens", {"key": old}),
    ]
    keys = usable_keys(app.store, app.clock, TOKENS)
    told = f"{app.lake_keys.page()} {entries} {keys} {caplog.text}"
    assert not [key for key in keys if key.secret in told]


# --- several processes ----------------------------------------------------------------------------------------------


def test_another_process_follows_at_once(app: Application, tmp_path: Path) -> None:
    before = issued(app)
    with open_lake(tmp_path / "lake") as other:
        assert holds(other, before)
        app.lake_keys.rotate(TOKENS)
        after = issued(app)
        assert [holds(other, before), holds(other, after)] == [True, True]
        assert kid(issued(other)) == kid(after)
        app.lake_keys.retire(UUID(kid(before)))
        assert [holds(other, before), holds(other, after)] == [False, True]


def test_a_server_rotates_as_well(app: Application) -> None:
    before = issued(app)
    with running_server(create_server(app)) as url:
        with connect(url, token=administrators_token(app, "user:admin")) as lake:
            made = lake.rotate_lake_key("access-tokens", keep_hours=1)
            assert {one.id: one.state for one in lake.lake_keys()}[made.id] is KeyState.ACTIVE
            assert lake.retire_lake_key(UUID(kid(before))).state is KeyState.RETIRED
            with pytest.raises(NotAllowedError, match="hashes"):
                lake.rotate_lake_key("hashes")
        with pytest.raises(AuthenticationError):
            connect(url, token=before)


@pytest.mark.parametrize("kept_in", ["sqlite", "postgres"])
def test_of_each_purpose_one_key_signs(kept_in: str, app: Application, request: pytest.FixtureRequest) -> None:
    store: MetadataStore = app.store if kept_in == "sqlite" else request.getfixturevalue("postgres_store")
    first, second = new_key(TOKENS, app.clock), new_key(TOKENS, app.clock)
    with store.write() as tx:
        assert tx.signing_keys.insert(first)
        assert not tx.signing_keys.insert(second)
        assert tx.signing_keys.usable(TOKENS, NOW) == [first]
        tx.signing_keys.retire(first.id, NOW + timedelta(seconds=1))
        assert tx.signing_keys.insert(second)
        assert [key.id for key in tx.signing_keys.usable(TOKENS, NOW)] == [second.id, first.id]
        assert [key.id for key in tx.signing_keys.usable(TOKENS, NOW + timedelta(seconds=1))] == [second.id]
        tx.signing_keys.forget_secrets(NOW)
        assert tx.signing_keys.get(first.id).secret
        tx.signing_keys.forget_secrets(NOW + timedelta(seconds=1))
        assert [tx.signing_keys.get(key.id).secret for key in (first, second)] == ["", second.secret]
        assert {key.id for key in tx.signing_keys.page(None, 9)} == {first.id, second.id}


@pytest.mark.parametrize("kept_in", ["sqlite", "postgres"])
def test_of_rotations_at_once_each_is_done_or_refused(
    kept_in: str, app: Application, request: pytest.FixtureRequest
) -> None:
    store: MetadataStore = app.store if kept_in == "sqlite" else request.getfixturevalue("postgres_store")
    service = LakeKeyService(store, Lookup(GrantAuthorizer(app.clock)), app.clock)
    together = Barrier(4)

    def rotate(_: int) -> str:
        together.wait()
        try:
            return str(service.rotate(KeyPurpose.SCAN_PLANS).id)
        except (CommitConflictError, MetadataStoreBusyError):  # PostgreSQL may find that two wait for each other
            return ""

    with ThreadPoolExecutor(4) as threads:
        done = set(filter(None, threads.map(rotate, range(4))))
    keys = [one for one in service.page() if one.purpose is KeyPurpose.SCAN_PLANS]
    assert {str(one.id) for one in keys} == done
    assert [one.state for one in keys].count(KeyState.ACTIVE) == 1


@given(st.none() | st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_a_keys_life_only_goes_on(retires_at: datetime | None, now: datetime) -> None:
    order = list(KeyState)
    later = min(now, datetime.max.replace(tzinfo=UTC) - timedelta(days=1)) + timedelta(days=1)
    assert order.index(state_of(retires_at, now)) <= order.index(state_of(retires_at, max(now, later)))
    assert (state_of(retires_at, now) is KeyState.ACTIVE) is (retires_at is None)
