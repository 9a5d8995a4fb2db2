"""Paths of this machine's files, as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def is_relative(text: str) -> bool:
    """Tell whether text is a path that means another place in another directory; ``~`` is one in another account.

    What has a colon in its first part, such as ``s3://bucket`` or ``:memory:``, is no path.
    """
    return bool(text) and not text.startswith("/") and ":" not in text.partition("/")[0]


def whole_path(text: str, folder: Path) -> str:
    """Return a path that counts from a folder as one that means the same place everywhere; other text as it is."""
    return os.path.normpath(folder / Path(text).expanduser()) if is_relative(text) else text
