"""Callers with API keys."""

from pathlib import Path
from typing import Any

import yaml

from services.platform.http.auth import new_key
from services.platform.settings import AuthSettings, Settings

__all__ = ["Doors"]


class Doors:
    """A file of callers, and the headers of each."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.callers: list[dict[str, Any]] = []

    def add(self, name: str, *scopes: str, **settings: float | str) -> dict[str, str]:
        text, key = new_key()
        held = [key.model_dump(mode="json", exclude_none=True)]
        self.callers.append({"name": name, "scopes": list(scopes), "keys": held, **settings})
        self.file.write_text(yaml.safe_dump({"callers": self.callers}))
        return {"Authorization": f"Bearer {text}"}

    def guarding(self, settings: Settings) -> Settings:
        """Return the settings of services that ask for the keys."""
        return settings.model_copy(update={"auth": AuthSettings(keys_file=self.file)})
