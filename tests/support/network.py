"""A network of its own for a process, by a namespace joined to this machine: packets are dropped, nobody is told."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from .patience import free_port
from .service import Service

__all__ = ["Network", "lacking", "network"]

RANGE = "198.18.0.0/15"
"""Set aside for tests of networks (RFC 2544); each namespace takes four addresses of it."""

RULES = """
table inet faults {{
  chain incoming {{
    type filter hook input priority 0;
    {incoming}
  }}
  chain outgoing {{
    type filter hook output priority 0;
    {outgoing}
  }}
}}
"""


class Network:
    """A namespace with one way out.

    Attributes:
        near: address of this machine, seen from inside.
        far: address of what runs inside, seen from this machine.
    """

    def __init__(self, name: str, near: str, far: str) -> None:
        self.near = near
        self.far = far
        self._name = name

    def given_to(self, process: Service) -> Service:
        """Let a process, which must not run yet and listens at `far`, run inside, and return it."""
        process.prefix = ["/usr/bin/env", "ip", "netns", "exec", self._name]
        return process

    def drop(self, port: int, *, answers_only: bool = False) -> None:
        """Drop what passes between the inside and a server's port: all, or what comes back from it."""
        self._rule(f"tcp sport {port} drop", "" if answers_only else f"tcp dport {port} drop")

    def lose(self, percent: int) -> None:
        """Drop packets at random, of both directions."""
        rule = f"numgen random mod 100 < {percent} drop"
        self._rule(rule, rule)

    def heal(self) -> None:
        """Let everything pass."""
        self._nft("flush ruleset")

    def _rule(self, incoming: str, outgoing: str) -> None:
        self._nft("flush ruleset\n" + RULES.format(incoming=incoming, outgoing=outgoing))

    def _nft(self, script: str) -> None:
        subprocess.run(["ip", "netns", "exec", self._name, "nft", "-f", "-"], input=script, text=True, check=True)


def lacking() -> str | None:
    """Return why no namespace can be made here, or None."""
    if os.geteuid() != 0:
        return "only root may make a network namespace"
    absent = [program for program in ("ip", "nft") if shutil.which(program) is None]
    if absent:
        return f"{' and '.join(absent)} are needed for a network namespace (iproute2, nftables)"
    name = f"millrace-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    rules = subprocess.run(
        ["ip", "netns", "exec", name, "nft", "-f", "-"],
        input=RULES.format(incoming="numgen random mod 100 < 1 drop", outgoing=""),
        check=False,
        capture_output=True,
        text=True,
    )
    _run(f"ip netns del {name}")
    return f"nft cannot drop packets here: {rules.stderr.strip()}" if rules.returncode else None


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Yield a namespace; it is gone behind the block, with its rules."""
    # Nobody else on this machine has this port, and so nobody these addresses.
    number = free_port()
    name, link = f"millrace-{number}", f"mr{number}"
    first = f"198.{18 + (number >> 14)}.{(number >> 6) & 255}"
    near, far = (f"{first}.{(number & 63) * 4 + host}" for host in (1, 2))
    inside = f"ip netns exec {name}"
    _run(f"ip netns add {name}")
    try:
        _run(f"ip link add {link} type veth peer name inside netns {name}")
        _run(f"ip address add {near}/30 dev {link}")
        _run(f"ip link set {link} up")
        _run(f"{inside} ip address add {far}/30 dev inside")
        _run(f"{inside} ip link set inside up")
        _run(f"{inside} ip link set lo up")
        yield Network(name, near, far)
    finally:
        _run(f"ip netns del {name}")


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True)
