"""Content codings of answers, as streams: an answer that breaks off has no end in them, too."""

import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import zstandard

__all__ = ["COMPRESSORS", "Compressor"]

_GZIP = 16 + zlib.MAX_WBITS


class Compressor(Protocol):
    """Compresses one body, part by part."""

    def compress(self, data: bytes, /) -> bytes:
        """Take the next bytes, and return what is ready of them."""

    def flush(self) -> bytes:
        """Return the rest and the end."""


COMPRESSORS: Mapping[str, Callable[[], Compressor]] = {
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    "gzip": lambda: zlib.compressobj(1, zlib.DEFLATED, _GZIP),
}
"""By the names of `Accept-Encoding`, the better first: quick, as the reader waits, and rows compress well anyhow."""
