"""A small program of its own that turns into another: as another user, and never outliving who started it.

``python -I -S become.py PARENT SIGNAL UID GID CAPABILITY COMMAND...`` (-1 leaves user or capability as it is)

The kernel forgets the death signal when the user changes, and capabilities when root is given up: so the
order matters here, and none of it can be done by the starting process, which may have threads.
"""

import ctypes
import os
import signal
import sys

__all__ = ["main"]

PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
SECBIT_NO_SETUID_FIXUP = 4
CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    """Do what the module says; `arguments` are those behind the program's name.

    Raises:
        OSError: the user cannot be changed, or the command is not there.
    """
    parent, death, uid, gid, capability = (int(argument) for argument in arguments[:5])
    libc = ctypes.CDLL(None, use_errno=True)
    if capability >= 0:
        # Without it setuid(2) drops every capability, and access(2) takes none into account.
        _done(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    if uid >= 0:
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
    if capability >= 0:
        _keep(libc, capability)
    libc.prctl(PR_SET_PDEATHSIG, death, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(f"{arguments[5]}: who started this is gone")
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # A shell gives what it starts in the background, and whatever that starts, a deaf ear for it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(arguments[5], arguments[5:])  # noqa: S606 -- turning into the command is the purpose


def _keep(libc: ctypes.CDLL, capability: int) -> None:
    low, high = (1 << capability) & 0xFFFFFFFF, (1 << capability) >> 32
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    _done(libc.capset(header, sets))
    _done(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))


def _done(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"capabilities: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
