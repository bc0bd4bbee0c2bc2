"""The attacks of memberlist#370 and #371 on real nodes, by a stranger and by a lying member."""

from pathlib import Path

from mesh.core.identity import Address
from tests.attacks import on_mesh
from tests.attacks.evil_member import HOST, EvilMember
from tests.end_to_end.processes import RealMesh


def test_nobody_says_goodbye_for_another_moves_it_or_makes_a_node_shoot_at_a_third(
    tmp_path: Path,
) -> None:
    mesh = RealMesh(tmp_path)
    try:
        nodes = mesh.start(3)
        observer, victim = nodes[0], nodes[2].name
        ticket: str = observer.call("trust.invite", uses=1, ttl_s=300.0)["ticket"]
        with EvilMember(tmp_path / "evil", ticket) as evil:
            for node in nodes:
                node.call("member.wait", members=4, wait_s=20.0)
            before = observer.call("node.status")["counters"]
            address = Address(HOST, observer.port)
            stranger = on_mesh.hijack_as_stranger(observer, address, evil, victim)
            member = on_mesh.hijack_as_member(observer, evil, victim)
            assert not stranger.worked, stranger
            assert not member.worked, member
            after = observer.call("node.status")["counters"]
            assert after["refused_not_admitted"] - before.get("refused_not_admitted", 0) == 2
            assert after["refused_bad_signature"] - before.get("refused_bad_signature", 0) >= 3
            assert on_mesh.reflect_as_stranger(address).bytes_at_victim == 0
            reflected = on_mesh.reflect_as_member(observer, evil)
            assert 0 < reflected.bytes_at_victim <= reflected.bytes_in, reflected
            statuses = {v["name"]: v["status"] for v in observer.call("member.list")["members"]}
            assert set(statuses.values()) == {"alive"}
    finally:
        mesh.stop()
