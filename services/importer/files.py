"""What of which file is still to be sent."""

import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from .columns import digest_of, pieces_of
from .errors import ChangedError, ReadError
from .forms import STDIN, Form, Words
from .pieces import Piece
from .state import Known, Sent, State
from .tally import Tally
from .text import Text, unpacked

__all__ = ["HORIZON", "Files", "ToSend", "Which"]

HORIZON = 72 * 3600
"""Seconds for which the ledger remembers keys."""

_Begun = TypeVar("_Begun")

_MENDED = (
    "it is stored as it was, and no change comes in by itself: import records that were rejected and are mended as a "
    "file of their own (--rejects FILE gives them); --replaced stores all of the file again, beside what is stored"
)
"""What is said of a file that was changed behind its import."""


@dataclass(frozen=True, slots=True)
class Which:
    """Which files, and which of their pieces.

    Attributes:
        files: and their formats.
        words: what is said of them.
        where: the address that they go to.
        run: name of the import.
        growing: whether their last lines may be unfinished.
        replaced: whether what has another content than was imported under its name is a new file.
        in_doubt: what becomes of pieces that may be stored and that the ledger does not remember; None leaves them.
    """

    files: Sequence[tuple[Path, Form]]
    words: Words
    where: str
    run: str
    growing: bool = False
    replaced: bool = False
    in_doubt: Literal["send", "skip"] | None = None


class ToSend(NamedTuple):
    """A piece to be sent.

    Attributes:
        name: of its file.
        number: the file's in the state; None for standard input, which has none.
        piece: what is sent.
        again: whether an earlier import has begun with it, and it may be stored.
    """

    name: str
    number: int | None
    piece: Piece
    again: bool = False


@dataclass(slots=True)
class Files:
    """The files, read one behind the other."""

    which: Which
    state: State
    tally: Tally
    _passed: int = field(default=0, init=False)

    def to_send(self) -> Iterator[ToSend]:
        """Yield what is to be sent; a file with a fault is told, and the next one follows."""
        for path, form in self.which.files:
            try:
                yield from self._of(path, form)
            except ReadError as error:
                self.tally.fault(str(error))
            except OSError as error:
                self.tally.fault(f"{path}: {error.strerror}")
            else:
                self.tally.files += 1

    def _of(self, path: Path, form: Form) -> Iterator[ToSend]:
        if path == STDIN:
            if form.in_columns:
                raise ReadError(f"{form} cannot be read from standard input; save it as a file")
            with open(sys.stdin.fileno(), "rb", closefd=False) as file:
                text = Text("standard input", unpacked(file), form, self.which.words, growing=False)
                yield from (ToSend("standard input", None, piece) for piece in text.rest())
            return
        with path.open("rb") as file:
            size = path.stat().st_size
            number, sent, pieces = (self._columns if form.in_columns else self._text)(path, file, form)
            tried = {one.offset: one for one in sent if not one.done}
            self.tally.known += len(sent) - len(tried)
            self.tally.had_rejected(str(path), sum(one.rejected for one in sent))
            for piece in pieces:
                self.tally.done = self._passed + min(file.tell(), size)
                begun = tried.get(piece.offset)
                if begun is None or self._sendable(path, number, piece, begun):
                    yield ToSend(str(path), number, piece, begun is not None)
            self._passed += size
            self.tally.done = self._passed

    def _text(self, path: Path, file: io.BufferedReader, form: Form) -> tuple[int, Sequence[Sent], Iterator[Piece]]:
        """Return a file's number, its pieces that were begun with, and those that are to be sent."""

        def opened() -> Text:
            file.seek(0)
            return Text(str(path), unpacked(file), form, self.which.words, growing=self.which.growing)

        def begun(sent: Sequence[Sent]) -> tuple[Sequence[Sent], Text, list[Piece]]:
            text = opened()
            left: list[Piece] = [piece for piece, one in zip(text.begun(sent), sent, strict=True) if not one.done]
            return sent, text, left

        beginning = hashlib.blake2b(opened().beginning(), digest_size=20).digest()
        number, (sent, text, left) = self._known(path, form, beginning, begun)

        def pieces() -> Iterator[Piece]:
            yield from left
            yield from text.rest()

        return number, sent, pieces()

    def _columns(self, path: Path, file: io.BufferedReader, form: Form) -> tuple[int, Sequence[Sent], Iterator[Piece]]:
        digest = digest_of(file)

        def begun(sent: Sequence[Sent]) -> Sequence[Sent]:
            if any(one.digest != digest for one in sent):
                raise ChangedError(f"{path}: it is not what was imported under its name before")
            return sent

        number, sent = self._known(path, form, digest, begun)
        file.seek(0)
        return number, sent, pieces_of(str(path), file, digest, sent, form=form, target=self.which.words.target(form))

    def _known(
        self, path: Path, form: Form, beginning: bytes, begun: Callable[[Sequence[Sent]], _Begun]
    ) -> tuple[int, _Begun]:
        """Return a file's number, and what `begun` makes of its pieces: it is known by its name, or by its content.

        Raises:
            ChangedError: it was imported under its name, and is not what it was.
        """
        path = path.resolve()
        scope = f"{self.which.where} {self.which.run!r} {form} {self.which.words.target(form)}"
        known = self.state.at(scope, path)
        if known is not None:
            try:
                found = self._unchanged(known, begun)
            except ChangedError as error:
                if not self.which.replaced:
                    raise ChangedError(f"{error}; {_MENDED}") from None
                self.state.forget_name(known)
            else:
                self.state.seen(known, beginning)
                return known.number, found
        for like in self.state.like(scope, beginning):
            with suppress(ChangedError):
                found = begun(like.sent)
                return self.state.begin(scope, path, beginning, like), found
        return self.state.begin(scope, path, beginning, None), begun([])

    def _unchanged(self, known: Known, begun: Callable[[Sequence[Sent]], _Begun]) -> _Begun:
        """Return what `begun` makes of a file's pieces; where nothing is stored of the last ones, these may be others.

        Raises:
            ChangedError: what is stored of it is not what stands there now.
        """
        try:
            return begun(known.sent)
        except ChangedError:
            if len(known.stored) == len(known.sent):
                raise
        found = begun(known.stored)
        self.state.forget_void(known)
        return found

    def _sendable(self, path: Path, number: int, piece: Piece, begun: Sent) -> bool:
        """Tell whether a piece may be sent that an earlier import has begun with."""
        if time.time() - begun.tried <= HORIZON or self.which.in_doubt == "send":
            return True
        if self.which.in_doubt == "skip":
            self.state.done(number, piece, None, 0)
        else:
            self.tally.fault(
                f"{path} {piece.unit} {piece.line}: {piece.length:,} bytes or rows from here on were sent longer ago "
                f"than the ledger remembers ({HORIZON // 3600} h), and no answer came; look whether they are stored, "
                "then say --in-doubt skip, or --in-doubt send"
            )
        return False
