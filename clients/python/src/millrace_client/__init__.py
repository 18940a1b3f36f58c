"""A client of Millrace: `Client` and `AsyncClient` ask for readings, and `Writer` sends them exactly once."""

from .answers import Answer, AsyncAnswer
from .batches import Reading, Reject
from .client import AsyncClient, Client
from .errors import (
    AnswerError,
    BrokenAnswerError,
    MillraceError,
    NoAnswerError,
    NotAllowedError,
    RefusedError,
    SpoolError,
    UnavailableError,
    UnsentError,
    WriterFullError,
)
from .words import LatestWords, Question, SeriesWords
from .writer import Writer, WriterStats

__all__ = [
    "Answer", "AnswerError", "AsyncAnswer", "AsyncClient", "BrokenAnswerError", "Client", "LatestWords",
    "MillraceError", "NoAnswerError", "NotAllowedError", "Question", "Reading", "RefusedError", "Reject",
    "SeriesWords", "SpoolError", "UnavailableError", "UnsentError", "Writer", "WriterFullError", "WriterStats",
]  # fmt: skip
