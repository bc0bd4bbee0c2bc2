"""What the doctor says: each trouble has a finding with a hint, and health has none."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.checkups import (
    CLOCK_SLACK_S,
    SUSPICIOUS,
    Finding,
    check_clock,
    check_members,
    check_state,
    check_status,
    check_ticket,
)
from mesh.core.identity import Address, MeshId, PublicKey
from mesh.core.trust.tickets import Ticket, ticket_text
from mesh.storage.state_directory import StateDirectory
from tests.unit.cli.test_reach import MESH, answering

NOW_S = 1_700_000_000.0


def levels(findings: Iterable[Finding]) -> list[str]:
    found = list(findings)
    assert all(finding.hint for finding in found if finding.level != "ok")
    return [finding.level for finding in found]


def told(findings: Iterable[Finding]) -> str:
    return "\n".join(f"{f.level} {f.says} / {f.hint}" for f in findings)


def member(address: Address, name: str = "b", **more: object) -> dict[str, Any]:
    shown = {"name": name, "address": str(address), "status": "alive", "is_self": False}
    return shown | more


def ticket(*addresses: Address, mesh: MeshId = MESH, left_s: int = 600) -> str:
    issuers = (PublicKey(b"k" * 32),)
    return ticket_text(Ticket(mesh, issuers, addresses, b"s" * 16, int(NOW_S) + left_s))


def test_a_private_state_directory_is_fine_and_a_missing_one_is_only_noted(tmp_path: Path) -> None:
    assert levels(check_state(tmp_path / "none")) == ["note"]
    with StateDirectory(tmp_path / "data") as state:
        state.key()
    assert levels(check_state(tmp_path / "data")) == ["ok"]


@pytest.mark.parametrize("loose", ["data", "data/key"])
def test_a_loose_state_directory_or_key_is_wrong(tmp_path: Path, loose: str) -> None:
    with StateDirectory(tmp_path / "data") as state:
        state.key()
    (tmp_path / loose).chmod(0o755)
    (finding,) = check_state(tmp_path / "data")
    assert finding.level == "wrong"
    assert "chmod" in finding.hint


def test_a_linked_state_directory_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "data").symlink_to(tmp_path / "real")
    assert "symbolic link" in told(check_state(tmp_path / "data"))


def test_a_good_ticket_whose_issuer_answers() -> None:
    with answering() as issuer:
        assert levels(check_ticket(ticket(issuer), MESH.hex(), NOW_S)) == ["ok", "ok"]


def test_a_ticket_of_another_mesh_an_old_one_and_a_damaged_one() -> None:
    assert levels(check_ticket("mesh1:AAAA", None, NOW_S)) == ["wrong"]
    old = told(check_ticket(ticket(left_s=-30), None, NOW_S))
    assert "wrong it expired 30 s ago" in old
    assert "set the clock" in old
    other = told(check_ticket(ticket(mesh=MeshId(b"o" * 32)), MESH.hex(), NOW_S))
    assert "wrong it is for mesh 6f6f6f6f" in other


def test_blocked_udp_is_told_from_a_node_that_is_not_there() -> None:
    with answering(udp=False) as blocked:
        assert "UDP port" in told(check_ticket(ticket(blocked), None, NOW_S))
    with answering(tcp=False) as closed:
        assert "open TCP port" in told(check_ticket(ticket(closed), None, NOW_S))
    assert "nobody answers" in told(check_ticket(ticket(closed), None, NOW_S))


def test_a_node_that_is_still_outside_says_why() -> None:
    node = {"name": "b", "state": "joining", "asking": ["10.0.0.1:7946"], "last_problem": "refused"}
    found = told(check_status({"node": node}))
    assert found.startswith("wrong b is not in a mesh yet; it asks 10.0.0.1:7946: refused")


def test_a_node_that_waits_for_an_admin_is_no_member() -> None:
    node = {"name": "b", "state": "pending", "fingerprint": "AAAA-BBBB"}
    [found] = check_status({"node": node, "mesh": {"id": "ab" * 32, "name": ""}})
    assert found.level == "wrong"
    assert "b (AAAA-BBBB) waits to be let into mesh abababababababab" in found.says
    assert "mesh admit b" in found.hint


def test_members_of_one_name_are_told_apart() -> None:
    """Such as machines that were cloned, or are all called localhost."""
    with answering() as here, answering(udp=False) as there:
        own = member(here, "localhost", is_self=True)
        assert levels(check_members(MESH, [own, member(there, "localhost")])) == ["ok", "wrong"]


def test_warnings_and_suspicious_counters_are_noted() -> None:
    status: dict[str, Any] = {
        "node": {"name": "a", "state": "member"},
        "mesh": {"name": "m"},
        "counters": dict.fromkeys(SUSPICIOUS, 3),
    }
    assert levels(check_status(status)) == ["ok"] + ["note"] * len(SUSPICIOUS)
    status["counters"] = dict.fromkeys(SUSPICIOUS, 0)
    assert levels(check_status(status)) == ["ok"]
    assert levels(check_status(status | {"warnings": ["this mesh is OPEN"]})) == ["ok", "note"]
    full = {"warnings": ["this node cannot write to its disk: full", "isolated: ..."]}
    assert levels(check_status(status | full)) == ["ok", "wrong", "wrong"]


def test_a_disk_without_room_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StateDirectory(tmp_path / "data") as state:
        state.key()
    assert levels(check_state(tmp_path / "data")) == ["ok"]
    monkeypatch.setattr("mesh.cli.checkups.FREE_BYTES_LOW", 1 << 60)
    assert levels(check_state(tmp_path / "data")) == ["ok", "wrong"]
    monkeypatch.setattr("mesh.cli.checkups.os.statvfs", failing)
    assert told(check_state(tmp_path / "data")).endswith("No such device / look at the disk")


def failing(_path: Path) -> None:
    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


def test_members_that_answer_everywhere_are_fine() -> None:
    with answering() as here, answering() as there:
        own = member(here, "a", is_self=True)
        assert levels(check_members(MESH, [own, member(there)])) == ["ok", "ok"]


def test_a_wrong_advertised_address_and_blocked_ways_are_told_apart() -> None:
    with answering() as here, answering(udp=False) as blocked, answering(tcp=False) as closed:
        others = [member(blocked, "b"), member(closed, "c"), member(Address("127.0.0.1", 9), "d")]
        gone = member(Address("127.0.0.1", 9), "e", status="dead")
        left = member(Address("127.0.0.1", 9), "f", status="left")
        own = member(Address("127.0.0.1", 11), "a", is_self=True)
        found = told(check_members(MESH, [own, *others, gone, left]))
        assert "wrong nobody answers at 127.0.0.1:11" in found
        assert "wrong b (alive)" in found
        assert "note c (alive)" in found
        assert "NAT" in found
        assert "note e (dead)" in found
        assert "f (left)" not in found
        far = member(Address("192.0.2.77", 7946), "g", status="left")
        own = member(here, "a", is_self=True)
        assert "wrong" not in told(check_members(MESH, [own, far]))


def test_a_loopback_address_is_wrong_for_members_elsewhere() -> None:
    with answering() as here:
        own = member(here, "a", is_self=True)
        elsewhere = member(Address("127.0.0.1", 9), "b") | {"address": "192.0.2.9:7946"}
        assert "is this machine alone" in told(check_members(MESH, [own, elsewhere]))


def test_a_task_from_the_future_says_that_a_clock_is_off() -> None:
    assert levels(check_clock([], NOW_S)) == ["ok"]
    made = {"created_at": "2023-11-14T22:13:20.000Z"}
    assert levels(check_clock([made], NOW_S)) == ["ok"]
    assert levels(check_clock([made], NOW_S - CLOCK_SLACK_S - 1)) == ["wrong"]
