"""Chromium, driven by Playwright."""

import shutil
from typing import Any

from services.platform.runtime.starting import StartError

__all__ = ["launch_options"]


def launch_options() -> dict[str, Any]:
    """Return what Playwright launches Chromium with.

    Raises:
        StartError: there is none on the path.
    """
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise StartError("the console is looked at by Chromium, and none is on the path: install the package chromium")
    # Chromium's own sandbox needs rights that containers and root do not have.
    return {"executable_path": program, "args": ["--no-sandbox"]}
