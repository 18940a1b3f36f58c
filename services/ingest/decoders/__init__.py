"""Bodies to columns, one module a format."""

from .checks import SHOWN_FAULTS, Fault, Limits, Rows, checked
from .json_rows import decode_json, read_json

__all__ = ["SHOWN_FAULTS", "Fault", "Limits", "Rows", "checked", "decode_json", "read_json"]
