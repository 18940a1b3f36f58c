"""Texts with wild cards, as globs and the simple ones among regular expressions have them, and all other expressions.

Regular expressions are RE2's, by RE2 itself: it takes a time that grows with the text alone, never backtracks, and
refuses what would need more memory than it is given. PostgreSQL's own engine speaks another dialect, and has patterns
for which it needs minutes; so it sees none of a client's. What is no more than texts and wild cards is told from the
rest, as SQL can find that by LIKE, and by an index where it begins with a text.
"""

import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import re2

__all__ = ["Pattern", "PatternError", "RegularExpression", "Wild", "glob", "regular_expression"]

_MEMORY = 1 << 20
"""Bytes that RE2 may take for an expression: enough for some thousand alternatives."""

_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class PatternError(ValueError):
    """No glob, or no regular expression; the message says why, with the fix."""


class Wild(Enum):
    """What stands for others: any number of characters, or one."""

    MANY = auto()
    ONE = auto()


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text in which wild cards stand for others: no two texts side by side, and none empty."""

    parts: tuple[str | Wild, ...]

    @classmethod
    def of(cls, parts: Sequence[str | Wild]) -> "Pattern":
        """Return the pattern of characters and wild cards."""
        joined: list[str | Wild] = []
        for part in parts:
            if isinstance(part, str) and joined and isinstance(joined[-1], str):
                joined[-1] += part
            elif part is not Wild.MANY or not joined or joined[-1] is not Wild.MANY:
                joined.append(part)
        return cls(tuple(joined))

    @property
    def text(self) -> str | None:
        """The only text that fits; None where there are wild cards."""
        return None if any(isinstance(part, Wild) for part in self.parts) else "".join(map(str, self.parts))

    @property
    def everything(self) -> bool:
        """Whether every text fits."""
        return self.parts == (Wild.MANY,)

    @property
    def like(self) -> str:
        """The pattern as SQL's LIKE has it."""
        wild = {Wild.MANY: "%", Wild.ONE: "_"}
        return "".join(wild[part] if isinstance(part, Wild) else _escaped(part) for part in self.parts)

    @property
    def bounds(self) -> tuple[str, str | None] | None:
        """What texts that fit lie between by their code points, the end left out; None where they may lie anywhere."""
        if not self.parts or isinstance(self.parts[0], Wild):
            return None
        low = self.parts[0]
        kept = low.rstrip(chr(_LAST))
        if not kept:
            return low, None
        following = ord(kept[-1]) + 1
        return low, kept[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


@dataclass(frozen=True, slots=True)
class RegularExpression:
    """An expression that must fit a whole text; a dot stands for a line's end too.

    Attributes:
        text: as it was written.
        patterns: those of which one must fit, where the expression says no more than that.
    """

    text: str
    patterns: tuple[Pattern, ...] | None

    def fits(self, text: str) -> bool:
        """Return whether the expression fits a text."""
        return _compiled(self.text).fullmatch(text.encode()) is not None


def glob(text: str) -> Pattern:
    r"""Return the pattern of a glob: `*` stands for any characters, `?` for one, and `\` takes what follows as it is.

    Raises:
        PatternError: nothing follows a backslash.
    """
    parts: list[str | Wild] = []
    characters = iter(text)
    for character in characters:
        if character == "\\":
            parts.append(next(characters, ""))
            if not parts[-1]:
                raise PatternError("ends with a \\ that takes nothing; a \\ itself is written \\\\")
        else:
            parts.append({"*": Wild.MANY, "?": Wild.ONE}.get(character, character))
    return Pattern.of(parts)


def regular_expression(text: str) -> RegularExpression:
    """Return an expression.

    Raises:
        PatternError: RE2 has none like this, or it is too large.
    """
    try:
        _compiled(text)
    except re2.error as error:
        told = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        if "too large" in told:
            raise PatternError("is too large a regular expression; repeat less, or give several matches") from None
        raise PatternError(f"is no regular expression of RE2: {told[:200]}") from None
    return RegularExpression(text, _simple(text))


@functools.lru_cache(64)
def _compiled(text: str) -> "re2._Regexp":
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    options.dot_nl = True
    options.never_capture = True
    # Bytes spare a pass over each text that counts its characters.
    return re2.compile(text.encode(), options)


def _simple(text: str) -> tuple[Pattern, ...] | None:
    """Return the alternatives of an expression that has but texts, dots, `.*` and `.+`; None where it has more."""
    for opening in ("(?:", "("):
        if text.startswith(opening) and text.endswith(")") and not text.endswith("\\)"):
            text = text[len(opening) : -1]
            break
    found: list[list[str | Wild]] = [[]]
    characters = iter(text)
    behind_dot = False
    for character in characters:
        if behind_dot and character in "*+":
            found[-1][-1:] = [Wild.MANY] if character == "*" else [Wild.ONE, Wild.MANY]
            behind_dot = False
            continue
        behind_dot = character == "."
        if character == "|":
            found.append([])
        elif character == "\\":
            taken = next(characters)
            if taken not in string.punctuation:
                return None
            found[-1].append(taken)
        elif character in "()[]{}^$*+?":
            return None
        else:
            found[-1].append(Wild.ONE if behind_dot else character)
    return tuple(Pattern.of(parts) for parts in found)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
