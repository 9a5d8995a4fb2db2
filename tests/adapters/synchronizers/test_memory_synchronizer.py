from __future__ import annotations

import pytest

from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_memory import MemorySynchronizer
from cordillera.testing.synchronizer_suite import SynchronizerSuite


class TestMemorySynchronizer(SynchronizerSuite, HistorySuite):
    streams = False

    @pytest.fixture
    def synchronizer(self) -> MemorySynchronizer:
        return MemorySynchronizer()
