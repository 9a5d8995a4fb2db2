"""Webhooks over the HTTP API, on the command line, on pages, in metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from cordillera.cli.main import main
from cordillera.client import Lake
from cordillera.client.remote import RemoteBackend
from cordillera.errors import InvalidInputError, WebhookNotFoundError
from cordillera.server import create_server
from tests.conftest import MovableClock
from tests.webhooks.conftest import write
from tests.webhooks.receiver import Receiver

COMMITTED = "snapshot.committed"


@pytest.fixture
def client(lake: Lake) -> Iterator[TestClient]:
    with TestClient(create_server(lake.backend.app, insecure_local=True), base_url="http://localhost") as made:
        yield made


def test_a_lake_behind_a_server_has_them_too(lake: Lake, client: TestClient, receiver: Receiver) -> None:
    remote = Lake(RemoteBackend("http://localhost", "", client._transport))
    webhook, secret = remote.create_webhook(receiver.url, topics=[COMMITTED], within=["sales"], description="x")
    assert [one.id for one in remote.webhooks()] == [webhook.id]
    assert webhook.status().webhook.within == ("sales",)
    receiver.answer = lambda _: 500
    assert webhook.test().status == 500
    receiver.answer = lambda _: 200
    assert webhook.test().error == ""
    write(lake, "sales.orders", 1)
    lake.run_pending()
    assert receiver.of(COMMITTED)[0].signed_by(secret)
    assert [one.state for one in webhook.deliveries("delivered")] == ["delivered"] * 2
    assert webhook.replay() == 0
    assert webhook.rotate(keep_hours=0) != secret
    webhook.remove()
    with pytest.raises(WebhookNotFoundError):
        webhook.status()
    with pytest.raises(InvalidInputError, match="inside a network"):
        remote.create_webhook("https://169.254.169.254/latest/meta-data")


def test_the_pages_show_how_webhooks_do(
    lake: Lake, client: TestClient, receiver: Receiver, clock: MovableClock
) -> None:
    assert "cordillera webhook create" in client.get("/webhooks").text
    webhook, secret = lake.create_webhook(receiver.url, topics=[COMMITTED], description="for <finance>")
    receiver.answer = lambda _: 503
    write(lake, "sales.orders", 1)
    lake.run_pending()
    page, one = client.get("/webhooks").text, client.get(f"/webhooks/{webhook.id}").text
    assert "for &lt;finance&gt;" in page
    assert "failing" in page
    assert "The answer was 503." in one
    assert secret not in page + one
    listed = client.get("/webhooks.json").json()["data"]["webhooks"]["items"]
    assert [(status["state"], status["waiting"]) for status in listed] == [("failing", 1)]
    assert client.get("/webhooks/nonsense").status_code == 404
    assert client.get(f"/webhooks/{webhook.id}", params={"state": "dead"}).status_code == 200
    clock.advance(days=2)
    lake.run_pending()
    measured = client.get("/metrics").text
    assert 'cordillera_webhook_deliveries{state="dead"} 1.0' in measured
    assert "cordillera_webhooks_failing 1.0" in measured


def test_a_test_on_the_command_line_says_what_came_of_it(
    lake: Lake, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook, _ = lake.create_webhook(receiver.url)
    folder = lake.backend.app.settings.storage_root.removesuffix("/data").removeprefix("file://")
    monkeypatch.setenv("CORDILLERA_LAKE", folder)
    assert main(["webhook", "test", str(webhook.id), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "delivered"
    receiver.answer = lambda _: 500
    assert main(["webhook", "test", str(webhook.id)]) == 75
    assert "did not take the test: The answer was 500." in capsys.readouterr().err
