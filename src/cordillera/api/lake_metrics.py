"""Metrics of the lake that are read when somebody asks: tasks, events, the lag of subscriptions."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cordillera.app import Application
from cordillera.spec.destination import DeliveryState, DestinationState
from cordillera.spec.subscription import DELIVERING, Equality, SubscriptionState, SubscriptionStatus

_MOST_SUBSCRIPTIONS = 200
_WATCHED = (*sorted(DELIVERING), SubscriptionState.FAILED)


class LakeCollector(Collector):
    """Collects the gauges of a lake. A state's first two hundred subscriptions stand for all.

    Args:
        app: The lake.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        yield self._tasks()
        yield self._events()
        yield self._service_levels()
        yield from self._destinations()
        yield from self._lags()

    def _service_levels(self) -> GaugeMetricFamily:
        text = "Dataset versions with a contract, by how they stand to its promises about time."
        gauge = GaugeMetricFamily("cordillera_service_levels", text, labels=["state"])
        for state, count in self._app.service_levels.counts().items():
            gauge.add_metric([state], count)
        return gauge

    def _tasks(self) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily("cordillera_tasks_present", "Background tasks.", labels=["kind", "state"])
        for (kind, state), count in self._app.operations.task_counts().items():
            gauge.add_metric([kind, state], count)
        return gauge

    def _events(self) -> GaugeMetricFamily:
        with self._app.store.read() as tx:
            return GaugeMetricFamily("cordillera_events_unhandled", "Events that wait.", tx.events.unhandled_count())

    def _destinations(self) -> Iterator[GaugeMetricFamily]:
        totals = self._app.destinations.totals()
        present = GaugeMetricFamily(
            "cordillera_destination_deliveries",
            "Events that wait for destinations, or were given up.",
            labels=["state"],
        )
        for state in (DeliveryState.WAITING, DeliveryState.DEAD):
            present.add_metric([state], totals.get(state, 0))
        yield present
        text = "Destinations whose last attempt failed."
        yield GaugeMetricFamily("cordillera_destinations_failing", text, totals[DestinationState.FAILING])

    def _lags(self) -> Iterator[GaugeMetricFamily]:
        labels = ["subscription", "dataset", "target", "state"]
        behind = GaugeMetricFamily(
            "cordillera_subscription_snapshots_behind", "Snapshots that a target lacks.", labels=labels
        )
        lag = GaugeMetricFamily(
            "cordillera_subscription_lag_seconds",
            "Time since the first snapshot that a target lacks was committed.",
            labels=labels,
        )
        drifted = GaugeMetricFamily(
            "cordillera_subscription_drifted",
            "Whether the last comparison found the target to differ from the lake (1), or not (0).",
            labels=labels,
        )
        for status in self._watched():
            found = status.subscription
            values = [str(found.id), found.dataset, found.target, found.state]
            behind.add_metric(values, status.snapshots_behind)
            lag.add_metric(values, self._lag_seconds(status))
            if found.equality is not Equality.UNPROVEN:
                drifted.add_metric(values, found.equality is Equality.DRIFTED)
        yield from (behind, lag, drifted)

    def _watched(self) -> Iterator[SubscriptionStatus]:
        for state in _WATCHED:
            yield from self._app.subscriptions.subscriptions(state=state, limit=_MOST_SUBSCRIPTIONS)

    def _lag_seconds(self, status: SubscriptionStatus) -> float:
        if status.behind_since is None:
            return 0.0
        return (self._app.clock.now() - status.behind_since).total_seconds()
