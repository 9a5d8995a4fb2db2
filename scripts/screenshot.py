"""Take the README's picture of a dataset page: serve a demo lake, open the page, keep what a desktop window shows.

Make the lake with ``make demo`` first; then run ``python scripts/screenshot.py demo-lake docs/images/dataset.png``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from cordillera.app import open_lake
from cordillera.server import create_server
from cordillera.testing.running_server import running_server

MOST_BYTES = 250_000


def main() -> int:
    """Take the picture, and return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake", type=Path, help="folder of a demo lake")
    parser.add_argument("picture", type=Path, help="PNG file to write")
    parser.add_argument("--path", default="/datasets/flights.flights", help="page to show")
    parser.add_argument("--height", type=int, default=860, help="height of the window in pixels")
    given = parser.parse_args()
    with open_lake(given.lake) as app, running_server(create_server(app, insecure_local=True)) as url:
        take(f"{url}{given.path}", given.picture, given.height)
    size = given.picture.stat().st_size
    sys.stdout.write(f"{given.picture}: {size:,} bytes\n")
    return int(size > MOST_BYTES)


def take(address: str, picture: Path, height: int) -> None:
    """Write a PNG file of a page in a desktop window."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=sandbox)
        page = browser.new_page(viewport={"width": 1440, "height": height}, color_scheme="light")
        answer = page.goto(address)
        if answer is None or not answer.ok:
            raise SystemExit(f"{address} could not be shown.")
        picture.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
