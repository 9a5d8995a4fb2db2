"""Events as a stream: whole, resumable, for those who may know, as long as they may, no more than there are places."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pyarrow as pa
import pytest

import cordillera
from cordillera.app import create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import InvalidInputError, RateLimitedError
from cordillera.operations import service
from cordillera.operations.service import FollowedEvents
from cordillera.server import create_server
from cordillera.spec.event import Event
from cordillera.spec.event_filter import EventFilter
from cordillera.testing.running_server import running_server
from cordillera.worker import workers

GUEST = "user:guest"


class Served:
    """A lake with two datasets behind a real server with a worker, and a guest who may discover one of them."""

    def __init__(self, lake: Lake, url: str) -> None:
        self.lake, self.url, self.app = lake, url, lake.backend.app
        self.token = self.new_token()

    def new_token(self) -> str:
        return self.app.access.create_token(f"t{self.app.clock.new_id()}", principal=GUEST).secret

    def write(self, name: str, count: int = 1) -> None:
        for _ in range(count):
            self.lake.dataset(name).write(pa.table({"id": [1]}))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("streams")
    with Lake(LocalBackend(create_lake(folder / "lake", event_streams="3"))) as lake:
        lake.create_namespace("sales", owner="user:owner")
        for name in ("orders", "hidden"):
            lake.create_dataset(f"sales.{name}", {"id": pa.int64()})
        lake.grant(GUEST, "discover", "sales.orders")
        with running_server(create_server(lake.backend.app)) as url, workers(lake.backend.app):
            yield Served(lake, url)


@pytest.fixture
def remote(served: Served) -> Iterator[Lake]:
    with cordillera.connect(served.url, served.token) as made:
        yield made


def sequences(events: list[Event]) -> list[int]:
    return [event.payload["sequence_number"] for event in events]


def test_events_come_as_they_happen_and_only_those_that_one_may_know_of(served: Served, remote: Lake) -> None:
    events = remote.events(topics=["snapshot.committed"], timeout=5)
    served.write("sales.hidden")
    served.write("sales.orders")
    served.write("sales.hidden")
    served.write("sales.orders")
    found = [next(events), next(events)]
    assert [event.dataset for event in found] == ["sales.orders"] * 2
    assert sequences(found) == sorted(sequences(found))
    assert "partitions" not in found[0].payload
    everything = list(remote.events(after=0, timeout=0))
    assert {event.dataset for event in everything} == {"sales.orders"}
    assert found[0] in everything


def test_few_events_are_looked_through_at_a_time_however_many_are_hidden(
    served: Served, remote: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = remote.events(topics=["snapshot.committed"], timeout=5)
    served.write("sales.hidden", 3)
    served.write("sales.orders")
    told = next(events)
    monkeypatch.setattr(service, "_MOST_LOOKED_THROUGH", 1)
    for lake in (remote, served.lake):
        assert told.position in [event.position for event in lake.events(after=0, timeout=0)]
    found, looks = FollowedEvents([], 0, caught_up=False), []
    with acting(GUEST):
        while not found.caught_up:
            found = served.app.operations.follow_events(EventFilter(), found.position)
            looks.append(found)
    assert [one.position for one in looks] == list(range(1, len(looks) + 1))
    assert told in [event for one in looks for event in one.events]
    assert {event.dataset for one in looks for event in one.events} == {"sales.orders"}


def test_it_goes_on_where_it_was(served: Served, remote: Lake) -> None:
    events = remote.events(topics=["snapshot.committed"], timeout=5)
    served.write("sales.orders", 3)
    found = [next(events) for _ in range(3)]
    again = list(remote.events(topics=["snapshot.committed"], after=found[0].position, timeout=0))
    assert again == found[1:]
    headers = {"Authorization": f"Bearer {served.token}", "Last-Event-ID": str(found[1].position)}
    answer = httpx2.get(
        f"{served.url}/api/v1/events/stream",
        params={"idle_seconds": 0, "after": 0},
        headers=headers,
        trust_env=False,
        timeout=60,
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith(f"retry: 1000\nid: {found[1].position}\n\n")
    assert f"event: snapshot.committed\nid: {found[2].position}\ndata: {{" in answer.text
    assert f"id: {found[0].position}\n" not in answer.text


def test_filters_keep_others_away(served: Served) -> None:
    local = served.lake
    start = served.app.operations.last_position()
    served.write("sales.orders")
    served.write("sales.hidden")
    found = list(local.events(topics=["snapshot.committed"], within=["sales.hidden"], after=start, timeout=1))
    assert [event.dataset for event in found] == ["sales.hidden"]
    assert len(list(local.events(topics=["snapshot.committed"], within=["sales"], after=start, timeout=0))) == 2
    assert list(local.events(within=["sale"], after=start, timeout=0)) == []


@pytest.mark.parametrize("arguments", [{"topics": ["x"]}, {"within": ["X"]}, {"after": 1_000_000}])
def test_what_makes_no_sense_is_refused(served: Served, remote: Lake, arguments: dict[str, object]) -> None:
    for lake in (served.lake, remote):
        with pytest.raises(InvalidInputError):
            lake.events(**arguments)


def test_a_revoked_grant_silences_and_a_revoked_token_ends_it(served: Served) -> None:
    token = served.new_token()
    token_id = served.app.access.identify(token).id
    with cordillera.connect(served.url, token) as remote:
        frames = remote.backend._server.read_events("/events/stream", {})
        assert next(frames).data == b""
        served.write("sales.orders")
        assert b"sales.orders" in next(frames).data
        served.lake.revoke(GUEST, "discover", "sales.orders")
        try:
            served.write("sales.orders")
            served.app.access.revoke_token(token_id)
            assert list(frames) == []
        finally:
            served.lake.grant(GUEST, "discover", "sales.orders")


def test_there_are_no_more_streams_than_places_and_none_keeps_a_thread(served: Served, remote: Lake) -> None:
    streams = [remote.backend._server.read_events("/events/stream", {}) for _ in range(3)]
    for stream in streams:
        next(stream)
    with pytest.raises(RateLimitedError, match="3 callers"):
        _one_more(served)
    assert [remote.backend.info().name for _ in range(50)] == ["lake"] * 50, "the server has threads for others"
    for stream in streams:
        stream.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            _one_more(served)
            return
        except RateLimitedError:
            time.sleep(0.1)
    raise AssertionError("places of those who have gone are not given back")


def _one_more(served: Served) -> None:
    answer = httpx2.get(
        f"{served.url}/api/v1/events/stream",
        params={"idle_seconds": 0},
        headers={"Authorization": f"Bearer {served.token}"},
        trust_env=False,
        timeout=60,
    )
    if answer.status_code == 429:
        raise RateLimitedError(answer.json()["error"]["message"])
    assert answer.status_code == 200
