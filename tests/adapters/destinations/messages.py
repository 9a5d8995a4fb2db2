"""Messages to send in tests."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from cordillera.spec.destination import Message


def message(number: int, stream: str = "orders", text: str = "") -> Message:
    event = {
        "specversion": "1.0",
        "id": str(number),
        "source": "urn:uuid:0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3",
        "type": "cordillera.run.finished",
        "subject": f"sales.{stream}",
        "time": "2026-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "data": {"text": text},
    }
    return Message(uuid4(), stream, event, datetime(2026, 1, 1, tzinfo=UTC))
