"""The section `log`."""

from typing import Literal

from .section import Section, setting

__all__ = ["LogSettings"]


class LogSettings(Section):
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "Least level that is written.")
    format: Literal["auto", "pretty", "json"] = setting("auto", "auto: pretty on a terminal, JSON elsewhere.")
