"""The snippets of README and docs: fenced blocks with their kinds, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .service import ROOT

__all__ = ["PAGES", "Snippet", "commands", "simple_commands", "snippets"]

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT / folder / "README.md" for folder in ("benchmarks", "charts/millrace", "k8s", "sql")),
]
_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]*) -->\n\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_OPERATORS = {"|", "||", "&", "&&", ";", "(", ")", "<", ">", ">>"}


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block: where it stands, its kind (the word behind the fence), and why it is not run, where it is not."""

    page: str
    line: int
    kind: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        """Return where it stands."""
        return f"{self.page}:{self.line}"


def snippets() -> list[Snippet]:
    """Return all snippets, in the order of PAGES."""
    return [snippet for page in PAGES for snippet in _of(page)]


def _of(page: Path) -> Iterator[Snippet]:
    text = page.read_text()
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("kind")) + 1
        yield Snippet(str(page.relative_to(ROOT)), line, found["kind"], found["text"], found["reason"])


def commands(snippet: Snippet) -> list[str]:
    """Return the commands of a console block: what stands behind each `$`, up to the next."""
    assert snippet.text.startswith("$ "), f"{snippet}: a console block begins with a command, behind `$ `"
    return re.split(r"^\$ ", snippet.text, flags=re.MULTILINE)[1:]


def simple_commands(program: str) -> Iterator[tuple[Snippet, list[str]]]:
    """Yield the arguments of each use of a program in console blocks, run or not; pipes and assignments are cut off."""
    for snippet in snippets():
        if snippet.kind == "console":
            for command in commands(snippet):
                for words in _simple(command):
                    if Path(words[0]).name == program:
                        yield snippet, words[1:]


def _simple(command: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(command.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in _OPERATORS:
            if words or not re.match(r"\w+=|\w+=\$$", word):
                words.append(word)
        elif words:
            yield words
            words = []
