"""Topics of SNS, queues of SQS and buses of EventBridge as destinations. Credentials come by AWS's usual chain.

To topics and queues goes the CloudEvent in its JSON form. Where they are FIFO, the group is what the event is in order
with, and what AWS tells repetitions by is the event's source and id. A bus gets it as the detail of an event of its
own, one to a request, so that an entry that fails is repeated alone.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from functools import cache
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
"""What every service takes in every region, with everything that goes along."""

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


class AwsSender:
    """Sends to the destinations of one kind.

    Args:
        kind: The kind.
        rules: What endpoints besides AWS's own may be sent to.
    """

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

    def send(self, config: Mapping[str, str], message: Message) -> Attempt:
        """Send a message once."""
        began, status, error, failure = time.monotonic(), None, "", Failure.PASSING
        try:
            self.check(config)
            status, error = self._ask(config, message)
        except InvalidInputError as refused:
            error = refused.message
        except _TooLargeError as large:
            error, failure = str(large), Failure.EVENT
        except (NoCredentialsError, PartialCredentialsError) as missing:
            error = f"The lake has no credentials for AWS: {missing}."
        except BotoCoreError as lost:
            error = f"AWS cannot be reached: {lost}."
        except ClientError as refused_there:
            answer = refused_there.response
            status, error = answer["ResponseMetadata"]["HTTPStatusCode"], _said(answer["Error"])
            failure = Failure.EVENT if answer["Error"].get("Code") == _NOT_TEXT else failure
        return Attempt(status, error, time.monotonic() - began, failure=failure)

    def _ask(self, config: Mapping[str, str], message: Message) -> tuple[int, str]:
        """Return the status of the answer, and why the message was not taken all the same."""
        arn, region = config["arn"], config["arn"].split(":")[3]
        client = _client(_SERVICES.get(self._kind, self._kind), region, config.get("endpoint"))
        if self._kind is DestinationKind.EVENTBRIDGE:
            answer = client.put_events(Entries=[_entry(arn, message)])
            failed = answer["Entries"][0] if answer["FailedEntryCount"] else {}
            error = _said({"Code": failed["ErrorCode"], "Message": failed.get("ErrorMessage", "")}) if failed else ""
            return answer["ResponseMetadata"]["HTTPStatusCode"], error
        parameters = _text_and_order(arn, message)
        if self._kind is DestinationKind.SNS:
            answer = client.publish(TopicArn=arn, Message=message.body.decode(), **parameters)
        else:
            account, name = arn.split(":")[4:]
            queue = f"{client.meta.endpoint_url.rstrip('/')}/{account}/{name}"
            answer = client.send_message(QueueUrl=queue, MessageBody=message.body.decode(), **parameters)
        return answer["ResponseMetadata"]["HTTPStatusCode"], ""


def _text_and_order(arn: str, message: Message) -> dict[str, Any]:
    """Return what goes along with a body: attributes to filter by, and where order is kept, what it is kept by."""
    told = {name: str(message.event[name]) for name in ("type", "subject") if name in message.event}
    _check_size(len(message.body) + sum(len(f"{name}String{value}".encode()) for name, value in told.items()))
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in told.items()}
    if not arn.endswith(".fifo"):
        return {"MessageAttributes": attributes}
    return {
        "MessageAttributes": attributes,
        "MessageGroupId": _plain(message.stream),
        "MessageDeduplicationId": _plain(f"{message.event['source']}/{message.event['id']}"),
    }


def _entry(arn: str, message: Message) -> dict[str, Any]:
    event, detail = message.event, message.body.decode()
    resources = [event["subject"]] if "subject" in event else []
    _check_size(14 + len(SOURCE) + len(event["type"]) + len(message.body) + sum(len(r.encode()) for r in resources))
    return {
        "EventBusName": arn,
        "Source": SOURCE,
        "DetailType": event["type"],
        "Detail": detail,
        "Resources": resources,
        "Time": event["time"],
    }


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise _TooLargeError(f"The event has {size:,} bytes, and AWS takes {MOST_BYTES:,}; look it up in the lake.")


class _TooLargeError(Exception):
    """AWS never takes an event as large as this."""


def _plain(text: str) -> str:
    """Return a text as AWS takes it for an id: as it is, or else its hash."""
    return text if _GROUP.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()


def _said(error: Mapping[str, Any]) -> str:
    return f"AWS refused it: {error.get('Code')}: {str(error.get('Message', ''))[:500]}"


@cache
def _client(service: str, region: str, endpoint: str | None) -> Any:
    """Return a client, which threads may share; it finds and renews credentials itself."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=5, read_timeout=10)
    return boto3.Session().client(service, region_name=region, endpoint_url=endpoint, config=config)
