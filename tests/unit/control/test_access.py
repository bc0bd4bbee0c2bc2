"""Who may do what at the control socket."""

import os
import socket

import pytest

from mesh.control.access import (
    Access,
    Credentials,
    access_needed,
    access_of,
    peer_credentials,
)

OTHER_UID = os.geteuid() + 4321
GROUP = 4242


def test_kernel_says_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        found = peer_credentials(ours)
    assert (found.pid, found.uid) == (os.getpid(), os.geteuid())
    assert os.getegid() in found.groups
    assert set(os.getgroups()) <= set(found.groups)


@pytest.mark.parametrize(
    ("uid", "groups", "group", "access"),
    [
        (os.geteuid(), (), None, Access.OWN),
        (0, (), None, Access.OWN),
        (OTHER_UID, (1, GROUP), GROUP, Access.OPERATE),
        (OTHER_UID, (1, GROUP), None, Access.LOOK),
        (OTHER_UID, (1,), GROUP, Access.LOOK),
    ],
)
def test_user_and_groups_decide(
    uid: int, groups: tuple[int, ...], group: int | None, access: Access
) -> None:
    assert access_of(Credentials(1, uid, groups), group) is access


@pytest.mark.parametrize(
    ("method", "needed"),
    [
        ("hello", Access.LOOK),
        ("node.status", Access.LOOK),
        ("member.list", Access.OPERATE),
        ("task.submit", Access.OPERATE),
        ("watch", Access.OPERATE),
        ("no.such.method", Access.OPERATE),
        ("trust.invite", Access.OWN),
        ("node.leave", Access.OWN),
    ],
)
def test_methods_ask_for_access(method: str, needed: Access) -> None:
    assert access_needed(method) is needed
