"""Destinations over the HTTP API, on the command line, on pages, in metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from cordillera.cli.main import main
from cordillera.client import Lake
from cordillera.client.remote import RemoteBackend
from cordillera.errors import DestinationNotFoundError, InvalidInputError
from cordillera.server import create_server
from tests.conftest import MovableClock
from tests.destinations.conftest import write
from tests.destinations.receiver import Receiver

COMMITTED = "snapshot.committed"


@pytest.fixture
def client(lake: Lake) -> Iterator[TestClient]:
    with TestClient(create_server(lake.backend.app, insecure_local=True), base_url="http://localhost") as made:
        yield made


def test_a_lake_behind_a_server_has_them_too(lake: Lake, client: TestClient, receiver: Receiver) -> None:
    remote = Lake(RemoteBackend("http://localhost", "", client._transport))
    destination, secret = remote.create_destination(
        "webhook", url=receiver.url, topics=[COMMITTED], within=["sales"], description="x"
    )
    assert [one.id for one in remote.destinations()] == [destination.id]
    assert destination.status().destination.within == ("sales",)
    receiver.answer = lambda _: 500
    assert destination.test().status == 500
    receiver.answer = lambda _: 200
    assert destination.test().error == ""
    write(lake, "sales.orders", 1)
    lake.run_pending()
    assert receiver.of(COMMITTED)[0].signed_by(secret)
    assert [one.state for one in destination.deliveries("delivered")] == ["delivered"] * 2
    assert destination.replay() == 0
    assert destination.rotate(keep_hours=0) != secret
    destination.remove()
    with pytest.raises(DestinationNotFoundError):
        destination.status()
    with pytest.raises(InvalidInputError, match="inside a network"):
        remote.create_destination("webhook", url="https://169.254.169.254/latest/meta-data")


def test_the_pages_show_how_destinations_do(
    lake: Lake, client: TestClient, receiver: Receiver, clock: MovableClock
) -> None:
    assert "cordillera destination create" in client.get("/destinations").text
    destination, secret = lake.create_destination(
        "webhook", url=receiver.url, topics=[COMMITTED], description="for <finance>"
    )
    receiver.answer = lambda _: 503
    write(lake, "sales.orders", 1)
    lake.run_pending()
    page, one = client.get("/destinations").text, client.get(f"/destinations/{destination.id}").text
    assert "for &lt;finance&gt;" in page
    assert "failing" in page
    assert "The answer was 503." in one
    assert secret not in page + one
    listed = client.get("/destinations.json").json()["data"]["destinations"]["items"]
    assert [(status["state"], status["waiting"]) for status in listed] == [("failing", 1)]
    assert client.get("/destinations/nonsense").status_code == 404
    assert client.get(f"/destinations/{destination.id}", params={"state": "dead"}).status_code == 200
    clock.advance(days=2)
    lake.run_pending()
    measured = client.get("/metrics").text
    assert 'cordillera_destination_deliveries{state="dead"} 1.0' in measured
    assert "cordillera_destinations_failing 1.0" in measured


def test_a_test_on_the_command_line_says_what_came_of_it(
    lake: Lake, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    destination, _ = lake.create_destination("webhook", url=receiver.url)
    folder = lake.backend.app.settings.storage_root.removesuffix("/data").removeprefix("file://")
    monkeypatch.setenv("CORDILLERA_LAKE", folder)
    assert main(["destination", "test", str(destination.id), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "delivered"
    receiver.answer = lambda _: 500
    assert main(["destination", "test", str(destination.id)]) == 75
    assert "did not take the test: The answer was 500." in capsys.readouterr().err
