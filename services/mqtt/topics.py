"""Templates of topics: what is subscribed to, and what the levels of a topic say about its readings.

`site/{site}/device/{device}/{name}` subscribes to `site/+/device/+/+`; the level at `{name}` names what is measured,
those at other words are labels. `{sensor_id}` makes plain readings, without name and labels. `+` and, at the end, `#`
stand for levels that say nothing. `$share/GROUP/` before it makes it a shared subscription.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Called", "Template", "TemplateError", "parse_templates"]

_WORD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
_SHARE = "$share"
_OWN = {"sensor_id", "name", "field"}


class TemplateError(ValueError):
    """A template is none; the message says why."""


@dataclass(frozen=True, slots=True)
class Called:
    """What a topic says of its readings; what it does not say is None.

    Attributes:
        sensor_id: of plain readings.
        name: of what is measured.
        field: which of several values.
        labels: by their names.
    """

    sensor_id: str | None
    name: str | None
    field: str | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Template:
    """One template, taken apart.

    Attributes:
        filter: what is subscribed to.
        levels: of the topics; a word between braces where one says something.
    """

    filter: str
    levels: Sequence[str]

    def called(self, topic: str) -> Called | None:
        """Return what a topic says, None where it is not of this template."""
        levels = topic.split("/")
        known = self.levels
        if known[-1] == "#":
            known = known[:-1]
            levels = levels[: len(known)] if len(levels) >= len(known) else []
        if len(levels) != len(known):
            return None
        said = dict[str, str]()
        for level, expected in zip(levels, known, strict=True):
            if word := _WORD.fullmatch(expected):
                said[word[1]] = level
            elif expected not in {"+", level}:
                return None
        labels = {word: level for word, level in said.items() if word not in _OWN and level}
        return Called(said.get("sensor_id"), said.get("name"), said.get("field"), labels)


def parse_templates(text: str) -> list[Template]:
    """Return the templates of a list with commas between them.

    Raises:
        TemplateError: there is none, or one is wrong.
    """
    found = [_template(one.strip()) for one in text.split(",") if one.strip()]
    if not found:
        raise TemplateError("it names no topic; one is site/{site}/device/{device}/{name}")
    return found


def _template(text: str) -> Template:
    levels = text.split("/")
    share = list[str]()
    if levels[0] == _SHARE:
        share, levels = levels[:2], levels[2:]
    if not levels or not all(levels) or not all(share):
        raise TemplateError(f"{text!r} has an empty level; topics begin and end without a slash")
    words = list[str]()
    for number, level in enumerate(levels):
        word = _WORD.fullmatch(level)
        if word:
            words.append(word[1])
        elif "{" in level or "}" in level:
            raise TemplateError(f"{text!r}: {level!r} must be one word between braces, such as {{device}}, and no more")
        elif (level == "#" and number < len(levels) - 1) or (len(level) > 1 and set(level) & {"#", "+"}):
            raise TemplateError(f"{text!r}: + stands for a whole level, and # for all behind the last")
    if len(set(words)) < len(words):
        raise TemplateError(f"{text!r} has a word twice")
    if "sensor_id" in words and len(words) > 1:
        raise TemplateError(f"{text!r}: a plain sensor has no name, field and labels beside {{sensor_id}}")
    if "field" in words and "name" not in words:
        raise TemplateError(f"{text!r} has {{field}} without {{name}}")
    wild = ["+" if _WORD.fullmatch(level) else level for level in levels]
    return Template("/".join([*share, *wild]), levels)
