"""Who is at the other end of a Unix socket, and what that lets them do."""

import os
import socket
import struct
from enum import IntEnum
from typing import NamedTuple

SO_PEERGROUPS = 59
"""Linux: the supplementary groups of the peer; Python's `socket` has no name for it."""
GROUPS_BYTES_MAX = 1024
"""All that Python's getsockopt reads: 256 groups; beyond them only the primary one counts."""


class Access(IntEnum):
    """What a client may do; each level includes those below."""

    LOOK = 1
    """Say hello and see the status."""
    OPERATE = 2
    """Everything but stop the node, and invite, remove, rank and handle root keys."""
    OWN = 3


LOOKING = ("hello", "node.status")
OWNING = ("node.leave", "trust.")
"""A name that ends in a dot stands for all that begin so."""


class Credentials(NamedTuple):
    """A process at the other end, as the kernel vouches for it when it connected."""

    pid: int
    uid: int
    groups: tuple[int, ...]


def peer_credentials(sock: socket.socket) -> Credentials:
    """Return who is connected; raises OSError."""
    form = struct.Struct("3i")
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size)
    pid, uid, gid = form.unpack(raw)
    return Credentials(pid, uid, (gid, *_supplementary(sock)))


def _supplementary(sock: socket.socket) -> tuple[int, ...]:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES_MAX)
    except OSError:
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


def access_of(credentials: Credentials, group: int | None) -> Access:
    """Return what a process may do at a node of this user whose operators are `group`."""
    if credentials.uid in {0, os.geteuid()}:
        return Access.OWN
    if group is not None and group in credentials.groups:
        return Access.OPERATE
    return Access.LOOK


def access_needed(method: str) -> Access:
    """Return what a method asks for."""
    if method in LOOKING:
        return Access.LOOK
    return Access.OWN if method.startswith(OWNING) else Access.OPERATE
