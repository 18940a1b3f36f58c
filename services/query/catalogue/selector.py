r"""What `match` may say: a glob over ids, or a selector of labels in the words of Prometheus.

    boiler-*
    temperature{site="north",room!="hall",floor=~"1|2",unit!~".*F"}

A text in which a `{` stands that no backslash takes is a selector. A label that a sensor does not have is the empty
text. A series' name is the label `__name__`, its field `__field__`, and any sensor's id `__sensor_id__`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.contract.series import FIELD, ID, NAME

from .patterns import Pattern, PatternError, RegularExpression, glob, regular_expression

__all__ = [
    "FIELD",
    "ID",
    "MOST_MATCHES",
    "NAME",
    "Glob",
    "Match",
    "Matcher",
    "Selector",
    "SelectorError",
    "parse",
    "parse_all",
]

MOST_MATCHES = 32
_LONGEST = 16_384
_MOST_MATCHERS = 64

_IS_SELECTOR = re.compile(r"(?:[^\\{]|\\.)*\{", re.DOTALL)
_WORD = re.compile(r"[^\s\"'`{}=!~,\\]+")
_OPERATOR = re.compile(r"=~|!~|!=|=")
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|`([^`]*)`", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:([\\\"'ntr])|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_CHARACTERS = {"n": "\n", "t": "\t", "r": "\r"}


class SelectorError(ValueError):
    """A text chooses no sensors; the message says where it goes wrong, with the fix."""


@dataclass(frozen=True, slots=True)
class Glob:
    """Chooses sensors by their ids."""

    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Matcher:
    """What the value of a label must be, or must not.

    Attributes:
        label: its name.
        value: a text, or an expression that fits the whole of it.
        negated: whether that must not be.
    """

    label: str
    value: str | RegularExpression
    negated: bool


@dataclass(frozen=True, slots=True)
class Selector:
    """Chooses sensors for which all matchers hold; all of them where there is none."""

    matchers: tuple[Matcher, ...]


Match = Glob | Selector


def parse_all(texts: Sequence[str]) -> tuple[Match, ...]:
    """Return what several texts choose; a sensor that one of them chooses is chosen.

    Raises:
        SelectorError: one is wrong, or there are too many.
    """
    if len(texts) > MOST_MATCHES:
        raise SelectorError(f"is given {len(texts)} times, {MOST_MATCHES} are the most; put alternatives into one")
    return tuple(parse(text) for text in texts)


def parse(text: str) -> Match:
    """Return what a text chooses.

    Raises:
        SelectorError: it is neither a glob nor a selector.
    """
    if not text:
        raise SelectorError("is empty; * chooses all sensors")
    if len(text) > _LONGEST:
        raise SelectorError(f"has {len(text)} characters, {_LONGEST} are the most; give several matches")
    if "\0" in text:
        raise SelectorError(f"has a NUL at position {text.index(chr(0)) + 1}, which no id and no label has")
    if _IS_SELECTOR.match(text):
        return _Reader(text).selector()
    try:
        return Glob(glob(text))
    except PatternError as error:
        raise SelectorError(f"{_shown(text)} {error}") from None


class _Reader:
    """Reads one selector from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def selector(self) -> Selector:
        """Return the selector.

        Raises:
            SelectorError: it is none.
        """
        matchers = []
        self._space()
        if name := self._taken(_WORD):
            if wild := re.search(r"[*?]", name[0]):
                raise self._wrong(
                    f'a name has no {wild[0]}; write {{{NAME}=~"…"}} with a regular expression',
                    name.start() + wild.start(),
                )
            matchers.append(Matcher(NAME, name[0], negated=False))
        self._space()
        if not self._symbol("{"):
            raise self._wrong("a { belongs here, behind the name")
        while not self._symbol("}"):
            matchers.append(self._matcher())
            if len(matchers) > _MOST_MATCHERS:
                raise self._wrong(f"a selector has at most {_MOST_MATCHERS} conditions")
            if not self._symbol(",") and self._text[self._at : self._at + 1] != "}":
                raise self._wrong("a , or the } of the end belongs here")
        if self._at < len(self._text):
            raise self._wrong("nothing may stand behind the }; give a second match for more")
        return Selector(tuple(matchers))

    def _matcher(self) -> Matcher:
        begin = self._at
        quoted = self._quoted()
        word = None if quoted is not None else self._taken(_WORD)
        if quoted is None and word is None:
            raise self._wrong('the name of a label belongs here, such as in {site="north"}')
        label = quoted if word is None else word[0]
        self._space()
        operator = self._taken(_OPERATOR)
        if operator is None:
            if word is None:
                # A name that is no word, as Prometheus writes it.
                return Matcher(NAME, str(label), negated=False)
            raise self._wrong(f"one of =, !=, =~ and !~ belongs behind {_shown(str(label))}")
        if not label:
            raise self._wrong("a label has a name that is not empty", begin)
        self._space()
        begin = self._at
        value = self._quoted()
        if value is None:
            raise self._wrong('a value in quotes belongs here, such as "north"')
        self._space()
        negated = operator[0].startswith("!")
        if not operator[0].endswith("~"):
            return Matcher(str(label), value, negated=negated)
        try:
            return Matcher(str(label), regular_expression(value), negated=negated)
        except PatternError as error:
            raise self._wrong(f"the value {error}", begin) from None

    def _quoted(self) -> str | None:
        begin = self._at
        found = self._taken(_QUOTED)
        if found is None:
            if self._text[self._at : self._at + 1] in {'"', "'", "`"}:
                raise self._wrong("the quote that opens here is not closed")
            return None
        if found[3] is not None:
            return str(found[3])
        inner = next(group for group in found.groups() if group is not None)

        def character(escape: re.Match[str]) -> str:
            code = escape[2] or escape[3]
            if escape[1]:
                return _CHARACTERS.get(escape[1], escape[1])
            if code and 0 < int(code, 16) <= 0x10FFFF and not 0xD800 <= int(code, 16) < 0xE000:
                return chr(int(code, 16))
            raise self._wrong(
                f"{escape[0]} is no escape; a backslash itself is written \\\\, or put the text between ` and `",
                begin + 1 + escape.start(),
            )

        return _ESCAPE.sub(character, inner)

    def _taken(self, what: re.Pattern[str]) -> re.Match[str] | None:
        found = what.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _symbol(self, symbol: str) -> bool:
        """Take a symbol and the white space around it, and return whether it was there."""
        self._space()
        there = self._text.startswith(symbol, self._at)
        if there:
            self._at += len(symbol)
            self._space()
        return there

    def _space(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1

    def _wrong(self, message: str, at: int | None = None) -> SelectorError:
        place = self._at if at is None else at
        where = f"position {place + 1}{'' if place < len(self._text) else ', its end'}"
        return SelectorError(f"{_shown(self._text)} goes wrong at {where}: {message}")


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
