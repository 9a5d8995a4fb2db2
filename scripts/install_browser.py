"""Make sure that there is a Chromium for the browser tests: the system's, Debian's package, or Playwright's own."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys

PACKAGE = "chromium"


def main() -> int:
    """Install a browser if there is none, and return an exit code."""
    if shutil.which(PACKAGE):
        return 0
    if _is_root_on_debian() and _install_package():
        return 0
    return _run(sys.executable, "-m", "playwright", "install", PACKAGE)


def _is_root_on_debian() -> bool:
    """Tell whether a package can be installed; Ubuntu's package of that name needs snap, so it does not count."""
    try:
        system = platform.freedesktop_os_release()["ID"]
    except OSError:
        return False
    return system == "debian" and os.geteuid() == 0


def _install_package() -> bool:
    installer = shutil.which("apt-get")
    if installer is None or _run(installer, "--quiet", "update"):
        return False
    _run(installer, "--quiet", "install", "--yes", "--no-install-recommends", PACKAGE)
    return shutil.which(PACKAGE) is not None


def _run(*command: str) -> int:
    """Run a command that is written in this file, without questions, and return its exit code."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, check=False, env=environment).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
