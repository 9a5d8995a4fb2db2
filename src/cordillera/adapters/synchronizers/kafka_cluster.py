"""A Kafka cluster as a synchronizer uses it: topics, what they hold, and transactions that fence whoever was before.

Its errors are Cordillera's, and carry the broker's words: no key, no value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from cordillera.errors import CordilleraError, InvalidConfigurationError, TargetUnreachableError, TypeMismatchError

WAIT_S = 20.0
"""How long an answer of the cluster may take."""
TRANSACTION_S = 900
"""How long a transaction may take: the most that brokers allow unless they are told otherwise."""
SETTLE_S = 5.0
"""How long it may take until what is committed can be read."""
MESSAGES = pa.schema(
    [("partition", pa.int32()), ("position", pa.int64()), ("key", pa.binary()), ("value", pa.binary())]
)
"""Messages as they are read; the position is the offset within the partition."""

_READ_AT_ONCE = 2_000
_IN_FLIGHT_BYTES = 32 * 1024 * 1024
_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM, KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.POLICY_VIOLATION, KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_CONFIG, KafkaError.INVALID_PARTITIONS, KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError._INVALID_ARG,
    }
)  # fmt: skip


class Cluster:
    """Connects to a cluster, anew for every operation, so that one object may be used by many threads.

    Args:
        servers: Where its brokers are: ``host:port``, with commas between them.
        settings: More settings of librdkafka, none of them secret.
        secrets: Settings that are, each read when a connection is opened.
    """

    def __init__(
        self, servers: str, settings: Mapping[str, str], secrets: Mapping[str, Callable[[], str]] | None = None
    ) -> None:
        self.servers = servers
        self._settings, self._secrets = dict(settings), dict(secrets or {})

    def __repr__(self) -> str:
        return f"<Cluster: {self.servers}>"

    # --- topics -----------------------------------------------------------------------------------------------------

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 if there is no such topic. Asking does not make it."""
        with self._consumer() as (consumer, heard), self.translated(heard):
            found = consumer.list_topics(topic, timeout=WAIT_S).topics[topic]
            if found.error is not None and found.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise KafkaException(found.error)
            return len(found.partitions)

    def create(self, topic: str, partitions: int, replication: int, settings: Mapping[str, str]) -> None:
        """Make a topic, unless there is one of that name.

        Args:
            topic: Its name.
            partitions: How many it has.
            replication: How many brokers hold it; -1 for the cluster's default.
            settings: Its settings, as Kafka calls them.
        """
        made = NewTopic(topic, partitions, replication, config=dict(settings))
        self._administer(
            lambda admin: admin.create_topics([made], operation_timeout=WAIT_S)[topic], KafkaError.TOPIC_ALREADY_EXISTS
        )

    def delete(self, topic: str) -> None:
        """Remove a topic and all that it holds, if there is one."""
        self._administer(
            lambda admin: admin.delete_topics([topic], operation_timeout=WAIT_S)[topic],
            KafkaError.UNKNOWN_TOPIC_OR_PART,
        )

    # --- messages ---------------------------------------------------------------------------------------------------

    def messages(self, topic: str, partitions: int) -> Iterator[pa.RecordBatch]:
        """Stream the committed messages of a topic, from its beginning to where it ends now; each partition in order.

        Args:
            topic: Its name.
            partitions: How many it has.

        Returns:
            Batches of the schema ``MESSAGES``.
        """
        with self._consumer() as (consumer, heard), self.translated(heard):
            consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
            unread, heard_at = set(range(partitions)), time.monotonic()
            while unread:
                found = consumer.consume(1, 0.05)  # whoever asks for more waits for them all, or the time to be over
                found += consumer.consume(_READ_AT_ONCE, 0) if found else []
                if not found and time.monotonic() - heard_at > WAIT_S:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic} cannot be read"))
                heard_at = time.monotonic() if found else heard_at
                rows = []
                for one in found:  # the client hands messages over one by one: a loop over them cannot be avoided
                    if (error := one.error()) is None:
                        rows.append((one.partition(), one.offset(), one.key(), one.value()))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        unread.discard(one.partition())
                    else:
                        raise KafkaException(error)
                if rows:
                    columns = zip(*rows, strict=True)
                    yield pa.record_batch(
                        [pa.array(values, kind) for values, kind in zip(columns, MESSAGES.types, strict=True)],
                        schema=MESSAGES,
                    )

    def await_commits(self, topic: str, partitions: int) -> None:
        """Wait until what is committed can be read: brokers answer before they have marked it so in every partition.

        What looks the same is a transaction that is still open; it is waited for no longer than ``SETTLE_S``.
        """
        heard: list[KafkaError] = []
        asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}
        with self.translated(heard):
            admin = AdminClient(self._config(heard))
            written, until = _ends(admin, asked, IsolationLevel.READ_UNCOMMITTED), time.monotonic() + SETTLE_S
            while time.monotonic() < until:
                readable = _ends(admin, asked, IsolationLevel.READ_COMMITTED)
                if all(readable[number] >= end for number, end in written.items()):
                    return
                time.sleep(0.02)

    def append(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Write one message, outside any transaction, and wait until it is there."""
        heard: list[KafkaError] = []
        with self.translated(heard):
            producer = Producer(self._config(heard))
            producer.produce(topic, value, key)
            if producer.flush(WAIT_S):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    @contextmanager
    def writer(self, transactional_id: str) -> Iterator[Writer]:
        """Write in transactions, for the length of the block; what is open at its end is undone.

        Whoever wrote under the same id before is fenced: what he has not committed is undone, and he can commit nothing
        more. What he had committed is there to be read.
        """
        heard: list[KafkaError] = []
        settings = {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_S * 1000,
            "allow.auto.create.topics": False,
            "partitioner": "murmur2_random",  # as Java's clients have it, so that others' joins by key find the same
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": 100_000_000,  # the broker's own limit is what counts
            "queue.buffering.max.messages": 10_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
        with self.translated(heard):
            producer = Producer({**self._config(heard), **settings})
            producer.list_topics("cordillera", WAIT_S)  # connected: otherwise it looks for a coordinator twice a second
            producer.init_transactions(WAIT_S)
        opened = Writer(self, producer, heard)
        try:
            yield opened
        finally:
            opened.abandon()

    # --- connections ------------------------------------------------------------------------------------------------

    @contextmanager
    def translated(self, heard: list[KafkaError] | None = None) -> Iterator[None]:
        """Turn the client's errors into Cordillera's.

        Args:
            heard: What the client has told of its connections: it may say why nobody could be reached.
        """
        try:
            yield
        except KafkaException as error:
            raise self._meaning(error.args[0], heard or []) from None

    def _meaning(self, error: KafkaError, heard: list[KafkaError]) -> CordilleraError:
        telling = next((one for one in (error, *heard) if one.code() in _REFUSED), error)
        words = str(telling.str()).splitlines()[0] if telling.str() else telling.name()
        if telling.code() in _REFUSED:
            return InvalidConfigurationError(
                f"The Kafka cluster at {self.servers} refused what was asked of it: {words}",
                hint="Look at the target's settings, and at what its user may do there.",
            )
        if error.code() in _FENCED:
            return TargetUnreachableError(
                f"Another worker has begun to deliver to the same topic at {self.servers}; this delivery is undone.",
                hint="Nothing is to be done: the other one goes on.",
            )
        if error.code() in _TOO_LARGE:
            return TypeMismatchError(
                f"A row is larger than the Kafka cluster at {self.servers} takes: {words}",
                hint="Raise max.message.bytes of the topic, or leave the column with the large values out.",
            )
        return TargetUnreachableError(f"The Kafka cluster at {self.servers} does not answer: {words}")

    @contextmanager
    def _consumer(self) -> Iterator[tuple[Consumer, list[KafkaError]]]:
        heard: list[KafkaError] = []
        settings = {
            "group.id": "cordillera",  # demanded by the client; no group is joined
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # where what was first is gone
            "fetch.wait.max.ms": 1,  # what is there comes at once, and nothing else is read
            "queued.max.messages.kbytes": 16_384,
            "allow.auto.create.topics": False,
        }
        with self.translated(heard):
            consumer = Consumer({**self._config(heard), **settings})
        try:
            yield consumer, heard
        finally:
            consumer.close()

    def _administer(self, ask: Callable[[AdminClient], Future[None]], done_already: int) -> None:
        """Have something done; an answer that it was done before is as good."""
        heard: list[KafkaError] = []
        with self.translated(heard):
            admin = AdminClient(self._config(heard))  # lives until the answer is there
            try:
                ask(admin).result(WAIT_S)
            except KafkaException as error:
                if error.args[0].code() != done_already:
                    raise
            except TimeoutError:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None

    def _config(self, heard: list[KafkaError]) -> dict[str, Any]:
        return {
            "bootstrap.servers": self.servers,
            "client.id": "cordillera",
            "log_level": 2,
            "error_cb": heard.append,
            **self._settings,
            **{name: read() for name, read in self._secrets.items()},
        }


class Writer:
    """Writes in transactions.

    Args:
        cluster: Where to.
        producer: Under whose id.
        heard: What the client has told of its connections.
    """

    def __init__(self, cluster: Cluster, producer: Producer, heard: list[KafkaError]) -> None:
        self._cluster, self._producer, self._heard = cluster, producer, heard
        self._open, self._in_flight = False, 0

    def send(self, topic: str, messages: pa.RecordBatch) -> None:
        """Write messages, columns ``key`` and ``value``; they appear with the commit.

        Raises:
            TypeMismatchError: If one is larger than the client takes.
        """
        self._begin()
        with self._cluster.translated(self._heard):
            # One dict a message, made and read in C: the client takes them in no other form.
            made = messages.to_struct_array().to_pylist()
            if self._producer.produce_batch(topic, made) < len(made):
                raise KafkaException(next(one["_error"] for one in made if "_error" in one))
        self._in_flight += messages.nbytes
        if self._in_flight >= _IN_FLIGHT_BYTES:
            self._settle()

    def put(self, topic: str, key: bytes, value: bytes) -> None:
        """Write one message."""
        self._begin()
        with self._cluster.translated(self._heard):
            self._producer.produce(topic, value, key)

    def commit(self) -> None:
        """Let everything that was written appear at once."""
        self._begin()
        with self._cluster.translated(self._heard):
            self._producer.commit_transaction(WAIT_S)
        self._open = False

    def abandon(self) -> None:
        """Undo what was written and not committed; what cannot be undone now, the next writer undoes."""
        if self._open:
            self._open = False
            with suppress(KafkaException):
                self._producer.abort_transaction(WAIT_S)

    def _begin(self) -> None:
        if not self._open:
            with self._cluster.translated(self._heard):
                self._producer.begin_transaction()
            self._open = True

    def _settle(self) -> None:
        """Wait until what was written has left this process."""
        with self._cluster.translated(self._heard):
            if self._producer.flush(WAIT_S):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        self._in_flight = 0


def _ends(admin: AdminClient, asked: Mapping[TopicPartition, OffsetSpec], level: IsolationLevel) -> dict[int, int]:
    """Return behind which offset each partition ends for readers of a level of isolation."""
    answers = admin.list_offsets(dict(asked), isolation_level=level, request_timeout=WAIT_S)
    return {place.partition: answer.result(WAIT_S).offset for place, answer in answers.items()}
