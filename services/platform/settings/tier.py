"""The section `tier`."""

import re
from urllib.parse import urlsplit

from pydantic import PositiveFloat, field_validator

from .section import Section, setting

__all__ = ["TierSettings"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class TierSettings(Section):
    """The cold tier: old readings as Parquet files. S3's credentials are those of AWS' own variables and files."""

    location: str = setting(
        "",
        "Where the files lie: `file:///folder`, or `s3://bucket/prefix?region=…`, with `endpoint_override=host:port` "
        "and `scheme=http` for another server than AWS'. Whoever moves chunks and whoever answers questions needs it. "
        "Without it there is no tier.",
    )
    interval: PositiveFloat = setting(600.0, "Time between looks for chunks that are old enough.", "s")
    grace: PositiveFloat = setting(
        900.0, "How long a file stays after it was replaced: longer than any question that may still read it.", "s"
    )

    @field_validator("location")
    @classmethod
    def _known(cls, value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme == "s3" and "@" in parts.netloc:
            raise ValueError("must hold no credentials; give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        if parts.scheme == "s3" and _BUCKET.fullmatch(parts.netloc):
            return value
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and not parts.query:
            return value
        raise ValueError("is neither file:///folder nor s3://bucket/prefix")
