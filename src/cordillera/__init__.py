"""Cordillera: an open data lake platform.

import cordillera

lake = cordillera.open("./lake")
lake.dataset("sales.orders").scan(where="day = '2026-01-31'").to_polars()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cordillera.client import Dataset, Lake, Namespace, connect, create, open
    from cordillera.errors import CordilleraError

__version__ = "0.1.0"
__all__ = ["CordilleraError", "Dataset", "Lake", "Namespace", "__version__", "connect", "create", "open"]

_HOMES = {"CordilleraError": "cordillera.errors"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that ``import cordillera.spec`` stays light."""
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "cordillera.client")), name)
    raise AttributeError(f"module 'cordillera' has no attribute {name!r}")
