"""Whatever fails, and whenever a worker dies: every event arrives, in order for each dataset, under one id each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordillera.app import Application, create_lake
from cordillera.destinations.delivery import EventDeliveryService
from cordillera.spec.destination import Attempt, DestinationKind, Message
from cordillera.spec.event import Circumstances, Topic
from tests.conftest import MovableClock

TAKEN, REFUSED, UNANSWERED = Attempt(200, "", 0.0), Attempt(500, "no", 0.0), Attempt(None, "nobody", 0.01)


class Killed(BaseException):
    """Stands for the end of the process."""


class Script:
    """A sender that is told what becomes of each attempt; at the end everything is taken."""

    def __init__(self, fates: list[str], most: int) -> None:
        self.fates, self.most = fates, most
        self.received: list[tuple[str, str]] = []
        """Event and id of everything that arrived, whether the lake learned of it or not."""

    def check(self, kind: DestinationKind, config: Mapping[str, str]) -> None: ...

    def at_once(self, kind: DestinationKind) -> int:
        return self.most

    def send(self, kind: DestinationKind, config: Mapping[str, str], messages: Sequence[Message]) -> list[Attempt]:
        assert 1 <= len(messages) <= self.most
        assert len({message.stream for message in messages}) == len(messages)
        attempts: list[Attempt] = []
        for message in messages:
            fate = self.fates.pop() if self.fates else "taken"
            if fate == "full" and attempts:
                return attempts
            if fate == "killed before":
                raise Killed
            if fate in ("taken", "full", "killed after"):
                self.received.append((message.event["data"]["payload"]["event"], str(message.id)))
            if fate == "killed after":
                raise Killed
            attempts.append({"refused": REFUSED, "unanswered": UNANSWERED}.get(fate, TAKEN))
        return attempts


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    folder: Path = tmp_path_factory.mktemp("order")
    with create_lake(folder / "lake", clock=MovableClock(), destination_loopback="true") as made:
        yield made


def happen(app: Application, happened: list[str]) -> dict[str, list[str]]:
    """Have something happen to datasets; return, of each, what in which order."""
    model: dict[str, list[str]] = defaultdict(list)
    with app.store.write() as tx:
        for number, dataset in enumerate(happened):
            model[dataset].append(f"{dataset} {number}")
            told = Circumstances(Topic.RUN_FINISHED, app.clock.now(), "x", "", dataset, None)
            tx.events.append(told, {"event": f"{dataset} {number}"})
    return model


FATES = st.lists(
    st.sampled_from(["taken", "full", "refused", "unanswered", "killed before", "killed after"]), max_size=12
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["a.x", "a.y", "b.z"]), min_size=1, max_size=8), FATES, st.integers(1, 4))
def test_each_dataset_is_told_in_order_and_nothing_is_lost(
    app: Application, happened: list[str], fates: list[str], most: int
) -> None:
    made = app.destinations.create("webhook", {"url": "http://127.0.0.1:9/"})
    model = happen(app, happened)
    while app.operations.dispatch_events():
        pass
    script, clock = Script(fates, most), app.clock
    assert isinstance(clock, MovableClock)
    service = EventDeliveryService(app.store, script, clock, lambda: 0.5)
    while waiting(app, made.destination.id):
        with suppress(Killed):
            service.send_due(made.destination.id)
        clock.advance(hours=1)
    ids: dict[str, set[str]] = defaultdict(set)
    for event, message_id in script.received:
        ids[event].add(message_id)
    assert all(len(found) == 1 for found in ids.values())
    assert len(set.union(*ids.values())) == len(happened)
    for dataset, expected in model.items():
        arrived = [event for event, _ in script.received if event.startswith(dataset)]
        assert list(dict.fromkeys(arrived)) == expected
        assert sorted(arrived, key=expected.index) == arrived, "what is repeated is repeated before the next"
    app.destinations.remove(made.destination.id)


def waiting(app: Application, destination_id: UUID) -> int:
    return app.destinations.status(destination_id).waiting
