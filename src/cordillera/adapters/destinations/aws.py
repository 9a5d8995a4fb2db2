"""Topics of SNS, queues of SQS and buses of EventBridge as destinations. Credentials come by AWS's usual chain.

To topics and queues goes the CloudEvent in its JSON form. Where they are FIFO, the group is what the event is in order
with, and what AWS tells repetitions by is the event's source and id. A bus gets it as the detail of an event of its
own.

Ten go into a request, and the answer tells of each whether it was taken. Where a request is refused as a whole, one of
them may be to blame, so the first goes alone then.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from cordillera.errors import InvalidInputError
from cordillera.spec.destination import Attempt, DestinationKind, Failure, Message
from cordillera.spec.endpoint import EndpointRules

SOURCE = "cordillera"
"""The source that EventBridge's rules know the lake's events by."""
MOST_BYTES = 256 * 1024
"""What every service takes in a request in every region, with everything that goes along."""

_OF = "arn:aws[a-z-]*:{}:([a-z0-9-]+):[0-9]{{12}}:{}"
_ARNS = {
    DestinationKind.SNS: re.compile(_OF.format("sns", r"[A-Za-z0-9_-]{1,256}(\.fifo)?"), re.ASCII),
    DestinationKind.SQS: re.compile(_OF.format("sqs", r"[A-Za-z0-9_-]{1,80}(\.fifo)?"), re.ASCII),
    DestinationKind.EVENTBRIDGE: re.compile(_OF.format("events", "event-bus/[A-Za-z0-9._/-]{1,256}"), re.ASCII),
}
_SERVICES = {DestinationKind.EVENTBRIDGE: "events"}
_EXAMPLES = {
    DestinationKind.SNS: "arn:aws:sns:eu-central-1:123456789012:lake-events.fifo",
    DestinationKind.SQS: "arn:aws:sqs:eu-central-1:123456789012:lake-events.fifo",
    DestinationKind.EVENTBRIDGE: "arn:aws:events:eu-central-1:123456789012:event-bus/default",
}
_GROUP = re.compile(r"[A-Za-z0-9._:/-]{1,128}", re.ASCII)
_NOT_TEXT = "InvalidMessageContents"
_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class _Entry:
    """A message as a request has it, and how many bytes AWS counts for it."""

    parameters: Mapping[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Why a message was not taken, and what that means; without an error it was."""

    error: str = ""
    failure: Failure = Failure.PASSING


_UNTOLD = _Outcome("AWS's answer does not tell whether it was taken.")


class AwsSender:
    """Sends to the destinations of one kind.

    Args:
        kind: The kind.
        rules: What endpoints besides AWS's own may be sent to.
    """

    at_once = 10

    def __init__(self, kind: DestinationKind, rules: EndpointRules) -> None:
        self._kind, self._rules = kind, rules

    def check(self, config: Mapping[str, str]) -> None:
        """Make sure that the ARN is one of the service, and that an endpoint is one that an operator allows."""
        if not _ARNS[self._kind].fullmatch(config["arn"]):
            raise InvalidInputError(
                f"{config['arn'][:100]!r} is no ARN of the kind {self._kind}.",
                hint=f"Write it like {_EXAMPLES[self._kind]}.",
            )
        if "endpoint" in config:
            self._rules.check_named(config["endpoint"])

    def send(self, config: Mapping[str, str], messages: Sequence[Message]) -> list[Attempt]:
        """Send messages once each in a request, as many of the first as it has room for."""
        began, status = time.monotonic(), None
        entries = _with_room([self._entry(config["arn"], message) for message in messages])
        outcomes = {place: _too_large(entry) for place, entry in enumerate(entries) if entry.size > MOST_BYTES}
        sent = [place for place in range(len(entries)) if place not in outcomes]
        if sent:
            status, of_each = self._attempt(config, [entries[place].parameters for place in sent])
            if status == _BAD_REQUEST and len(sent) > 1:
                return self.send(config, messages[:1])
            outcomes |= zip(sent, of_each, strict=True)
        seconds = time.monotonic() - began
        return [Attempt(status, one.error, seconds, failure=one.failure) for _, one in sorted(outcomes.items())]

    def _attempt(
        self, config: Mapping[str, str], entries: Sequence[Mapping[str, Any]]
    ) -> tuple[int | None, list[_Outcome]]:
        """Return the status of the answer, and what came of each entry."""
        status = None
        try:
            self.check(config)
            answer = self._ask(config["arn"], config.get("endpoint"), entries)
            tell = _told_by_bus if self._kind is DestinationKind.EVENTBRIDGE else _told
            return answer["ResponseMetadata"]["HTTPStatusCode"], tell(answer, len(entries))
        except InvalidInputError as wrong:
            outcome = _Outcome(wrong.message)
        except (NoCredentialsError, PartialCredentialsError) as missing:
            outcome = _Outcome(f"The lake has no credentials for AWS: {missing}.")
        except BotoCoreError as lost:
            outcome = _Outcome(f"AWS cannot be reached: {lost}.")
        except ClientError as refused:
            status, outcome = (
                refused.response["ResponseMetadata"]["HTTPStatusCode"],
                _refused(refused.response["Error"]),
            )
        return status, [outcome] * len(entries)

    def _ask(self, arn: str, endpoint: str | None, entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the answer to a request with entries."""
        region, account, name = arn.split(":")[3:]
        client = _client(_SERVICES.get(self._kind, self._kind), region, endpoint)
        numbered = [{"Id": str(place), **entry} for place, entry in enumerate(entries)]
        answer: Mapping[str, Any]
        if self._kind is DestinationKind.EVENTBRIDGE:
            answer = client.put_events(Entries=entries)
        elif self._kind is DestinationKind.SNS:
            answer = client.publish_batch(TopicArn=arn, PublishBatchRequestEntries=numbered)
        else:
            queue = f"{client.meta.endpoint_url.rstrip('/')}/{account}/{name}"
            answer = client.send_message_batch(QueueUrl=queue, Entries=numbered)
        return answer

    def _entry(self, arn: str, message: Message) -> _Entry:
        if self._kind is DestinationKind.EVENTBRIDGE:
            return _for_bus(arn, message)
        return _with_order(arn, message, "Message" if self._kind is DestinationKind.SNS else "MessageBody")


def _with_order(arn: str, message: Message, body: str) -> _Entry:
    """Return a message with attributes to filter by, and where order is kept, with what it is kept by."""
    text = message.body
    told = {name: str(message.event[name]) for name in ("type", "subject") if name in message.event}
    size = len(text) + sum(len(f"{name}String{value}".encode()) for name, value in told.items())
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in told.items()}
    parameters: dict[str, Any] = {body: text.decode(), "MessageAttributes": attributes}
    if arn.endswith(".fifo"):
        parameters["MessageGroupId"] = _plain(message.stream)
        parameters["MessageDeduplicationId"] = _plain(f"{message.event['source']}/{message.event['id']}")
    return _Entry(parameters, size)


def _for_bus(arn: str, message: Message) -> _Entry:
    event, detail = message.event, message.body
    resources = [event["subject"]] if "subject" in event else []
    size = 14 + len(SOURCE) + len(event["type"]) + len(detail) + sum(len(one.encode()) for one in resources)
    parameters = {
        "EventBusName": arn,
        "Source": SOURCE,
        "DetailType": event["type"],
        "Detail": detail.decode(),
        "Resources": resources,
        "Time": event["time"],
    }
    return _Entry(parameters, size)


def _with_room(entries: Sequence[_Entry]) -> list[_Entry]:
    """Return the first entries, as many as go into a request; one that goes into none takes no room."""
    sizes = accumulate(entry.size if entry.size <= MOST_BYTES else 0 for entry in entries)
    return [entry for entry, size in zip(entries, sizes, strict=True) if size <= MOST_BYTES]


def _told(answer: Mapping[str, Any], count: int) -> list[_Outcome]:
    """Return what a queue or a topic answers of each entry."""
    outcomes = {one["Id"]: _Outcome() for one in answer.get("Successful", ())}
    outcomes |= {one["Id"]: _refused(one) for one in answer.get("Failed", ())}
    return [outcomes.get(str(place), _UNTOLD) for place in range(count)]


def _told_by_bus(answer: Mapping[str, Any], count: int) -> list[_Outcome]:
    """Return what a bus answers of each entry, in their order."""
    said = [
        _refused({"Code": one["ErrorCode"], "Message": one.get("ErrorMessage", "")})
        if "ErrorCode" in one
        else _Outcome()
        for one in answer["Entries"]
    ]
    return said if len(said) == count else [_UNTOLD] * count


def _too_large(entry: _Entry) -> _Outcome:
    told = f"The event has {entry.size:,} bytes, and AWS takes {MOST_BYTES:,}; look it up in the lake."
    return _Outcome(told, Failure.EVENT)


def _refused(error: Mapping[str, Any]) -> _Outcome:
    code = error.get("Code")
    failure = Failure.EVENT if code == _NOT_TEXT else Failure.PASSING
    return _Outcome(f"AWS refused it: {code}: {str(error.get('Message', ''))[:500]}", failure)


def _plain(text: str) -> str:
    """Return a text as AWS takes it for an id: as it is, or else its hash."""
    return text if _GROUP.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()


@cache
def _client(service: str, region: str, endpoint: str | None) -> Any:
    """Return a client, which threads may share; it finds and renews credentials itself."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=5, read_timeout=10)
    return boto3.Session().client(service, region_name=region, endpoint_url=endpoint, config=config)
