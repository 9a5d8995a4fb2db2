"""The page of the lake's own keys."""

from __future__ import annotations

import httpx2

from cordillera.api.auth import COOKIE
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.spec.lake_key import KeyPurpose, KeyState, LakeKey


def _keys(sample: Lake, purpose: KeyPurpose) -> dict[KeyState, LakeKey]:
    return {one.state: one for one in sample.lake_keys() if one.purpose is purpose}


def test_an_administrator_lets_another_key_sign_and_ends_the_one_before(pages: httpx2.Client, sample: Lake) -> None:
    sample.rotate_lake_key("webhooks")
    first = _keys(sample, KeyPurpose.WEBHOOKS)[KeyState.ACTIVE]
    answer = pages.post("/lake/keys/rotate", data={"purpose": "webhooks", "keep_hours": "2"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/lake/keys")
    by_state = _keys(sample, KeyPurpose.WEBHOOKS)
    assert by_state[KeyState.RETIRING].id == first.id
    page = pages.get("/lake/keys").text
    assert f"/lake/keys/{first.id}/retire" in page
    assert f"/lake/keys/{by_state[KeyState.ACTIVE].id}/retire" not in page
    assert pages.post(f"/lake/keys/{first.id}/retire").status_code == 303
    assert f"/lake/keys/{first.id}/retire" not in pages.get("/lake/keys").text
    backend = sample.backend
    assert isinstance(backend, LocalBackend)
    with backend.app.store.read() as tx:
        secrets = [one.secret for one in tx.signing_keys.page(None, 100) if one.secret]
    assert secrets
    assert not [one for one in secrets if one in page]


def test_what_cannot_be_is_said_on_the_page(pages: httpx2.Client, sample: Lake) -> None:
    for form, said in (
        ({"purpose": "hashes"}, "The key for hashes stays as it is"),
        ({"purpose": "nothing"}, "no keys for"),
        ({"purpose": "webhooks", "keep_hours": "many"}, "is no number of hours"),
        ({"purpose": "webhooks", "keep_hours": "99999"}, "cannot be kept for"),
    ):
        answer = pages.post("/lake/keys/rotate", data=form)
        assert (answer.status_code >= 400, said in answer.text) == (True, True), answer.text[:500]
    sample.rotate_lake_key("webhooks")
    active = _keys(sample, KeyPurpose.WEBHOOKS)[KeyState.ACTIVE]
    assert "is the one that signs" in pages.post(f"/lake/keys/{active.id}/retire").text
    assert pages.post("/lake/keys/nothing/retire").status_code == 404


def test_it_is_for_those_who_administer_the_lake(url: str, sample: Lake) -> None:
    made = sample.backend.create_token("keys", principal="user:somebody")
    headers = {"Accept": "text/html", "Origin": url}
    with httpx2.Client(
        base_url=url, cookies={COOKIE: made.secret}, headers=headers, trust_env=False, timeout=60
    ) as client:
        assert client.get("/lake/keys").status_code == 403
        assert client.post("/lake/keys/rotate", data={"purpose": "webhooks"}).status_code == 403
