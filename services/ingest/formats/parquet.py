"""Parquet, whose row groups are read as the record batches of one table.

As of Arrow's stream, what is here runs in `isolation` alone.
"""

from functools import partial

from arro3.io import read_parquet

from .arrow import decode_batches
from .table import in_rows, wide

__all__ = ["LAYOUTS", "MEDIA_TYPE"]

MEDIA_TYPE = "application/vnd.apache.parquet"

_BATCH = 4096
"""Rows decoded at a time, so that many more than a batch may have are found out before they are all there."""

_read = partial(read_parquet, batch_size=_BATCH)

LAYOUTS = {
    "rows": partial(decode_batches, layout=in_rows, read=_read),
    "wide": partial(decode_batches, layout=wide, read=_read),
}
"""What reads a body, by its layout."""
