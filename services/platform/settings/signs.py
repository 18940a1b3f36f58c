"""Signs of a URL that two readers would read in two ways, such as a password's @ that is not written %40."""

import re
from urllib.parse import unquote

__all__ = ["refuse_ambiguous"]

_ENCODE = "in a user name, password or option it is percent-encoded"


def refuse_ambiguous(url: str) -> None:
    """Refuse a URL that the libraries on its way could read differently.

    Raises:
        ValueError: which sign must be encoded and how; nothing else of the URL is shown.
    """
    scheme, _, rest = url.partition("://")
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not re.fullmatch(r"[a-z][a-z0-9+]*", scheme):
        raise ValueError("it must begin with a scheme in small letters, such as postgresql://")
    if rest.count("@") > netloc.count("@") or netloc.count("@") > 1:
        raise ValueError(f"it has an @ beside the one before the host; {_ENCODE}: %40")
    if "#" in rest:
        raise ValueError(f"it has a #; {_ENCODE}: %23")
    if any(sign in rest for sign in ' "<>\\^`{|}') or not rest.isprintable():
        raise ValueError(f"it has a space, a backslash or another sign that no URL has; {_ENCODE}, a space as %20")
    if re.search("%(?![0-9A-Fa-f]{2})", rest):
        raise ValueError(f"it has a % without two hexadecimal digits; {_ENCODE}: %25")
    try:
        readable = "\0" not in unquote(rest, errors="strict")
    except UnicodeDecodeError:
        readable = False
    if not readable:
        raise ValueError("what it says by %XX is not UTF-8, or has a zero byte")
