"""How a page is looked at, and what may not happen meanwhile."""

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page, Request

__all__ = ["DARK", "LIGHT", "PHONE", "Look", "Watch"]


@dataclass(frozen=True, slots=True)
class Look:
    """Size of the window, color scheme and language."""

    width: int = 1280
    height: int = 860
    scheme: Literal["light", "dark"] = "light"
    locale: str = "en-GB"
    zone: str = "Europe/Berlin"

    def options(self) -> dict[str, Any]:
        """Return what Playwright calls these."""
        return {
            "viewport": {"width": self.width, "height": self.height},
            "color_scheme": self.scheme,
            "locale": self.locale,
            "timezone_id": self.zone,
            "accept_downloads": True,
        }


LIGHT, DARK = Look(), Look(scheme="dark")
PHONE = Look(390, 780)


class Watch:
    """Collects what a page did wrong: errors, violations of its policy, questions to other hosts."""

    def __init__(self, page: Page, base: str) -> None:
        self.faults: list[str] = []
        self._host = urlsplit(base).netloc
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("console", self._said)
        page.on("request", self._asked)
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => "
            "console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )

    def _said(self, message: ConsoleMessage) -> None:
        # Chromium itself logs answers that are refusals; the page shows these to the person.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != self._host:
            self.faults.append(f"asked another host: {request.url}")
