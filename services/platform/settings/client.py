"""The section `client`."""

from .addresses import ClientKey
from .section import Section, setting

__all__ = ["ClientSettings"]


class ClientSettings(Section):
    """What the commands that talk to a running Millrace send."""

    key: ClientKey | None = setting(
        None,
        "API key of `millrace send`, `import`, `demo`, `query`, `latest`, `sensors`, `dead-letters`, `delete`, "
        "`deletions` and `run mqtt`.",
    )
