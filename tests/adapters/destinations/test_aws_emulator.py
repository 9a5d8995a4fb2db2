"""SNS, SQS and EventBridge as destinations, against the emulator MiniStack, which is no proof of what AWS does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from cordillera.adapters.destinations.aws import MOST_BYTES, AwsSender
from cordillera.errors import InvalidInputError
from cordillera.spec.destination import Attempt, DestinationKind, Failure
from cordillera.spec.endpoint import EndpointRules
from tests.adapters.destinations.messages import message
from tests.servers_aws import REGION, start_aws

TRYING = EndpointRules(loopback=True)
SNS, SQS, EVENTBRIDGE = DestinationKind.SNS, DestinationKind.SQS, DestinationKind.EVENTBRIDGE
BUS = f"arn:aws:events:{REGION}:000000000000:event-bus/lake"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("aws")
    with start_aws(directory, "sns,sqs,events") as (endpoint, _):
        yield endpoint


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


class Queue:
    """A queue of the emulator, and what is in it."""

    def __init__(self, endpoint: str, name: str) -> None:
        self._client: Any = client("sqs", endpoint)
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        self._url = self._client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.arn = f"arn:aws:sqs:{REGION}:000000000000:{name}"

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages", [])
        return found


def errors(attempts: list[Attempt]) -> list[str]:
    return [attempt.error for attempt in attempts]


def client(service: str, endpoint: str) -> Any:
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION)


def test_a_fifo_queue_gets_each_event_once_in_the_order_of_its_dataset(emulator: str) -> None:
    queue, sender = Queue(emulator, "once.fifo"), AwsSender(SQS, TRYING)
    config = {"arn": queue.arn, "endpoint": emulator}
    sender.check(config)
    for batch in ([(1, "orders")], [(1, "orders"), (2, "returns of Köln")], [(3, "orders")]):
        attempts = sender.send(config, [message(*one) for one in batch])
        assert [(attempt.status, attempt.error) for attempt in attempts] == [(200, "")] * len(batch)
    found = queue.messages()
    assert [json.loads(one["Body"])["id"] for one in found] == ["1", "2", "3"], "a repetition is none"
    groups = [one["Attributes"]["MessageGroupId"] for one in found]
    assert groups[0] == groups[2] == "orders"
    assert groups[1].isalnum(), "what AWS takes for no id is hashed"
    assert found[0]["MessageAttributes"]["type"]["StringValue"] == "cordillera.run.finished"
    assert found[0]["MessageAttributes"]["subject"]["StringValue"] == "sales.orders"


def test_a_standard_queue_takes_events_too(emulator: str) -> None:
    queue = Queue(emulator, "standard")
    assert errors(AwsSender(SQS, TRYING).send({"arn": queue.arn, "endpoint": emulator}, [message(1)])) == [""]
    assert json.loads(queue.messages()[0]["Body"]) == message(1).event


def test_a_fifo_topic_hands_on_the_cloud_event(emulator: str) -> None:
    queue, sns = Queue(emulator, "behind.fifo"), client("sns", emulator)
    topic = sns.create_topic(Name="events.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn, Attributes={"RawMessageDelivery": "true"})
    sent = [message(7), message(8, "returns")]
    assert errors(AwsSender(SNS, TRYING).send({"arn": topic, "endpoint": emulator}, sent)) == ["", ""]
    found = queue.messages()
    assert [json.loads(one["Body"]) for one in found] == [one.event for one in sent]
    assert [one["Attributes"]["MessageGroupId"] for one in found] == ["orders", "returns"]


def test_a_bus_gets_an_event_that_rules_can_match(emulator: str) -> None:
    queue, events = Queue(emulator, "matched"), client("events", emulator)
    events.create_event_bus(Name="lake")
    pattern = {"source": ["cordillera"], "detail-type": ["cordillera.run.finished"], "resources": ["sales.orders"]}
    events.put_rule(Name="finished", EventBusName="lake", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="finished", EventBusName="lake", Targets=[{"Id": "1", "Arn": queue.arn}])
    sent = [message(4), message(5, "returns")]
    assert errors(AwsSender(EVENTBRIDGE, TRYING).send({"arn": BUS, "endpoint": emulator}, sent)) == ["", ""]
    (found,) = queue.messages()
    assert json.loads(found["Body"])["detail"] == message(4).event


def test_what_is_not_there_is_a_failure_that_may_pass(emulator: str) -> None:
    config = {"arn": f"arn:aws:sqs:{REGION}:000000000000:missing", "endpoint": emulator}
    (attempt,) = AwsSender(SQS, TRYING).send(config, [message(1)])
    assert (attempt.status, attempt.failure) == (400, Failure.PASSING)
    assert "NonExistentQueue" in attempt.error


@pytest.mark.parametrize(
    ("kind", "arn"),
    [(SNS, f"arn:aws:sns:{REGION}:000000000000:t"), (SQS, f"arn:aws:sqs:{REGION}:000000000000:q"), (EVENTBRIDGE, BUS)],
)
def test_what_is_too_large_is_never_sent(kind: DestinationKind, arn: str) -> None:
    config = {"arn": arn, "endpoint": "http://127.0.0.1:9"}
    (attempt,) = AwsSender(kind, TRYING).send(config, [message(1, text="é" * (MOST_BYTES // 2))])
    assert (attempt.failure, attempt.status) == (Failure.EVENT, None)
    assert "AWS takes 262,144" in attempt.error


def test_where_nobody_answers_is_a_failure_that_may_pass() -> None:
    config = {"arn": f"arn:aws:sqs:{REGION}:000000000000:q", "endpoint": "http://127.0.0.1:9"}
    (attempt,) = AwsSender(SQS, TRYING).send(config, [message(1)])
    assert (attempt.failure, attempt.status) == (Failure.PASSING, None)
    assert "cannot be reached" in attempt.error


def test_an_endpoint_that_is_not_allowed_any_more_gets_nothing(emulator: str) -> None:
    queue = Queue(emulator, "closed")
    config = {"arn": queue.arn, "endpoint": emulator}
    for rules in (EndpointRules(), EndpointRules(internal_hosts=frozenset(["127.0.0.1"]))):
        with pytest.raises(InvalidInputError):
            AwsSender(SQS, rules).check(config)
        assert errors(AwsSender(SQS, rules).send(config, [message(1)])) != [""]
    assert queue.messages() == []


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """A server that answers everything so: the emulator refuses no entry."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


TAKEN_BY_BUS, THROTTLED = {"EventId": "x"}, {"ErrorCode": "ThrottlingException", "ErrorMessage": "slower"}
ANSWERS = {
    EVENTBRIDGE: (BUS, json.dumps({"FailedEntryCount": 1, "Entries": [TAKEN_BY_BUS, THROTTLED, TAKEN_BY_BUS]})),
    SQS: (
        f"arn:aws:sqs:{REGION}:000000000000:q.fifo",
        json.dumps(
            {
                "Successful": [{"Id": "2", "MessageId": "x"}, {"Id": "0", "MessageId": "x"}],
                "Failed": [{"Id": "1", "Code": "ThrottlingException", "Message": "slower", "SenderFault": False}],
            }
        ),
    ),
    SNS: (
        f"arn:aws:sns:{REGION}:000000000000:t.fifo",
        "<PublishBatchResponse><PublishBatchResult>"
        "<Successful><member><Id>0</Id></member><member><Id>2</Id></member></Successful><Failed><member><Id>1</Id>"
        "<Code>ThrottlingException</Code><Message>slower</Message><SenderFault>false</SenderFault></member></Failed>"
        "</PublishBatchResult></PublishBatchResponse>",
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_of_a_request_that_succeeds_what_is_refused_has_failed_alone(kind: DestinationKind) -> None:
    arn, answer = ANSWERS[kind]
    three = [message(number, stream) for number, stream in enumerate(("orders", "returns", "people"))]
    with answering(answer.encode()) as endpoint:
        attempts = AwsSender(kind, TRYING).send({"arn": arn, "endpoint": endpoint}, three)
    assert [(one.status, one.failure) for one in attempts] == [(200, Failure.PASSING)] * 3
    assert errors(attempts) == ["", "AWS refused it: ThrottlingException: slower", ""]


def test_what_the_answer_does_not_tell_of_has_failed() -> None:
    told = {"Successful": [{"Id": "0", "MessageId": "x"}], "Failed": [{"Id": "2", "Code": "InvalidMessageContents"}]}
    with answering(json.dumps(told).encode()) as endpoint:
        config = {"arn": ANSWERS[SQS][0], "endpoint": endpoint}
        attempts = AwsSender(SQS, TRYING).send(config, [message(number, str(number)) for number in range(3)])
    assert [bool(one.error) for one in attempts] == [False, True, True]
    assert "does not tell" in attempts[1].error
    assert attempts[2].failure is Failure.EVENT


def test_a_request_holds_no_more_than_aws_takes(emulator: str) -> None:
    queue, sender = Queue(emulator, "full.fifo"), AwsSender(SQS, TRYING)
    texts = ["x" * 100_000, "é" * MOST_BYTES, "y" * 100_000, "z" * 100_000]
    waiting = [message(number, str(number), text) for number, text in enumerate(texts)]
    attempts = sender.send({"arn": queue.arn, "endpoint": emulator}, waiting)
    assert [one.failure for one in attempts] == [Failure.PASSING, Failure.EVENT, Failure.PASSING]
    assert [json.loads(one["Body"])["id"] for one in queue.messages()] == ["0", "2"]


def test_where_a_request_is_refused_as_a_whole_the_first_is_tried_alone(emulator: str) -> None:
    config = {"arn": f"arn:aws:sqs:{REGION}:000000000000:missing", "endpoint": emulator}
    (attempt,) = AwsSender(SQS, TRYING).send(config, [message(1), message(2, "returns")])
    assert (attempt.status, attempt.failure) == (400, Failure.PASSING)
