"""What the reference says of events is what they hold."""

from __future__ import annotations

import re

import cordillera
from cordillera.spec.event import Topic
from tests.cli.furniture import Furniture
from tests.docs.markdown import ROOT


def test_the_reference_tells_of_every_topic_and_all_fields(furniture: Furniture) -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|[^|]*\| (.+) \|$", page, re.MULTILINE))
    assert set(rows) == set(Topic)
    with cordillera.open(furniture.folder) as lake:
        events = lake.backend.events(limit=1000)
    unnamed = {(one.topic, name) for one in events for name in one.payload if f"`{name}`" not in rows[one.topic]}
    assert unnamed == set()
    assert len({one.topic for one in events}) > 5
