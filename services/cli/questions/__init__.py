"""`millrace query`, `latest` and `sensors`: the query service's questions, asked and shown.

`commands` has the words, which are those of the HTTP routes and go to the service as they were typed; `asking` sends
them by the Python client and tells a refusal; `table` and `plot` show the rows of an answer; `saving` passes the bytes
of any format on.
"""

from .commands import latest, query, sensors

__all__ = ["latest", "query", "sensors"]
