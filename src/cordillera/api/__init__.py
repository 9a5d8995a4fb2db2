"""The HTTP API: everything a lake can do, under ``/api/v1``."""
