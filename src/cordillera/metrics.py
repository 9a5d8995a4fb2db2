"""Prometheus metrics of one process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

COMMITS = Counter("cordillera_commits_total", "Commits that became visible.", ["operation"])
COMMIT_SECONDS = Histogram("cordillera_commit_seconds", "Time from a commit's checks to its visibility.")
CONFLICTS = Counter("cordillera_commit_conflicts_total", "Commits that another writer was faster than.")
EVENTS_HANDLED = Counter("cordillera_events_handled_total", "Events handled.", ["topic"])
TASKS = Counter("cordillera_tasks_total", "Tasks ended, by kind and outcome.", ["kind", "outcome"])
TASK_SECONDS = Histogram("cordillera_task_seconds", "Time spent on a task.", ["kind"])
ROWS_DELIVERED = Counter("cordillera_rows_delivered_total", "Rows written to targets.", ["target", "change"])
DESTINATION_ATTEMPTS = Counter(
    "cordillera_destination_attempts_total", "Attempts to send an event to a destination.", ["outcome"]
)
BYTES_DELIVERED = Counter("cordillera_bytes_delivered_total", "Bytes of rows sent to targets, as in Arrow.", ["target"])
DELIVERY_SECONDS = Histogram("cordillera_delivery_seconds", "Time that a delivery took.", ["target"])
PAID_ROWS = Counter("cordillera_paid_rows_total", "Rows written to targets and taken out, by payer.", ["cost_owner"])
PAID_BYTES = Counter("cordillera_paid_bytes_total", "Bytes of rows sent to targets, by payer.", ["cost_owner"])
PAID_SECONDS = Counter("cordillera_paid_seconds_total", "Time that deliveries took, by payer.", ["cost_owner"])
VERIFICATIONS = Counter("cordillera_verifications_total", "Targets compared with the lake, by outcome.", ["outcome"])
EVENT_STREAMS = Gauge("cordillera_event_streams", "Streams of events that are open.")
ERRORS = Counter("cordillera_errors_total", "Requests that ended with an error.", ["code"])
