"""Events are handled: what follows from them is done in the transaction that marks them so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from cordillera.catalog.leases import last_write
from cordillera.errors import EventNotHandledError, TransientError
from cordillera.metrics import EVENTS_HANDLED
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.event import Event, Topic

EventHandler = Callable[[Transaction, Event, Clock], None]
"""Does its part in the transaction that marks the event handled, so it is done exactly once."""
EventsHandler = Callable[[Transaction, Sequence[Event], Clock], None]
"""Does so for all events that are handled in one transaction, behind the handlers of single events."""
HANDLE_EVENT = "handle-event"
"""The kind of task that handles an event which could not be handled when it was due."""

_log = structlog.get_logger(__name__)
_EVENTS_AT_ONCE = 100


def of_topic(topic: Topic, handler: EventsHandler) -> EventsHandler:
    """Return a handler that is given only the events of a topic, if there are any."""

    def handle(tx: Transaction, events: Sequence[Event], clock: Clock) -> None:
        if found := [event for event in events if event.topic is topic]:
            handler(tx, found, clock)

    return handle


class EventDispatcher:
    """Hands events to who handles them.

    Args:
        store: Keeps them.
        clock: Time and ids.
        event_handlers: Who handles which topic.
        events_handlers: Who handles the events of all topics.
    """

    def __init__(
        self,
        store: MetadataStore,
        clock: Clock,
        event_handlers: Mapping[Topic, Sequence[EventHandler]],
        events_handlers: Sequence[EventsHandler],
    ) -> None:
        self._store, self._clock = store, clock
        self._event_handlers, self._events_handlers = event_handlers, events_handlers

    def dispatch(self) -> int:
        """Handle the oldest events that wait, in one transaction; return how many.

        If that fails, they are handled one by one: an event that cannot be handled keeps no other waiting.
        """
        try:
            with self._store.write() as tx:
                events = tx.events.unhandled(_EVENTS_AT_ONCE)
                self._handle(tx, events)
        except TransientError:
            raise
        except Exception as error:  # a bug, or an event that nobody foresaw
            _log.warning("events could not be handled together", error=repr(error))
            return self._dispatch_singly()
        _count(events)
        return len(events)

    def handle_again(self, payload: Mapping[str, Any]) -> None:
        """Handle an event that was set aside, as a task.

        Raises:
            EventNotHandledError: If it still cannot be handled, so that the task is tried again.
        """
        number = payload["number"]
        try:
            with last_write(self._store, self._clock.now()) as tx:
                events = tx.events.seen([number], None)
                self._hand_over(tx, events)
        except TransientError:
            raise
        except Exception as error:
            _log.exception("event still cannot be handled", number=number)
            raise EventNotHandledError(f"Event {number} cannot be handled: {error!r}.") from error
        _count(events)

    def _dispatch_singly(self) -> int:
        for done in range(_EVENTS_AT_ONCE):
            events: list[Event] = []
            try:
                with self._store.write() as tx:
                    events = tx.events.unhandled(1)
                    self._handle(tx, events)
            except TransientError:
                raise
            except Exception as error:
                if not events:
                    raise
                self._set_aside(events[0], error)
            else:
                _count(events)
            if not events:
                return done
        return _EVENTS_AT_ONCE

    def _set_aside(self, event: Event, error: Exception) -> None:
        """Leave an event to a task, unless another worker has it meanwhile."""
        with self._store.write() as tx:
            if [one.number for one in tx.events.unhandled(1)] != [event.number]:
                return
            now, payload = self._clock.now(), {"number": event.number}
            task = self._clock.new_id()
            tx.tasks.enqueue(task, HANDLE_EVENT, str(event.number), payload, now=now, trace_id=event.trace_id)
            tx.events.mark_handled([event.number], now)
        _log.error("event set aside", number=event.number, topic=event.topic, dataset=event.dataset, exc_info=error)

    def _handle(self, tx: Transaction, events: Sequence[Event]) -> None:
        self._hand_over(tx, events)
        tx.events.mark_handled([event.number for event in events], self._clock.now())

    def _hand_over(self, tx: Transaction, events: Sequence[Event]) -> None:
        for event in events:
            for handler in self._event_handlers.get(event.topic, ()):
                handler(tx, event, self._clock)
        if events:
            for handle_all in self._events_handlers:
                handle_all(tx, events, self._clock)


def _count(events: Sequence[Event]) -> None:
    for event in events:
        EVENTS_HANDLED.labels(event.topic).inc()
