"""The Python interface of a lake, the same whether it is embedded in this process or behind a server."""

from cordillera.client.dataset import Dataset
from cordillera.client.lake import Lake, connect, create, open
from cordillera.client.namespace import Namespace
from cordillera.client.view import View

__all__ = ["Dataset", "Lake", "Namespace", "View", "connect", "create", "open"]
