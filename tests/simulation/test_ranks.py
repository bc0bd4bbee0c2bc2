"""Ranks at work: admins made and ended, the root replaced, its keys on paper."""

from dataclasses import replace

import pytest

from mesh.core.claims.forgotten import Forget
from mesh.core.commands import Command
from mesh.core.crypto.keys import fingerprint
from mesh.core.crypto.suite import SigningKey
from mesh.core.effects import Json
from mesh.core.trust import trust as trust_module
from mesh.core.trust.ranks import ADMINS_MAX
from mesh.core.trust.records import Admin
from mesh.core.trust_commands import (
    RootExport,
    RootKeep,
    RootLock,
    TrustAdmins,
    TrustDemote,
    TrustInvite,
    TrustPromote,
    TrustRemove,
    TrustRotate,
)
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, Refused, mesh_of
from tests.simulation.hunting import Liar, member_at, node_at


def a_mesh() -> Mesh:
    """Return five nodes, of which a, b and c are admins, and a has the root key and the next."""
    return mesh_of(5, Population(promises=True))


def tell(mesh: Mesh, name: str, command: Command) -> dict[str, Json]:
    """Ask a node, and return its answer."""
    result = mesh[name].tell(command).result
    assert isinstance(result, dict)
    return result


def refused(mesh: Mesh, name: str, command: Command) -> str:
    """Return why a node does not do what it is asked."""
    with pytest.raises(Refused) as error:
        tell(mesh, name, command)
    return error.value.name


def admins(mesh: Mesh) -> list[list[str]]:
    """Return the admins as each node sees them, each list once."""
    seen = []
    for person in mesh.running():
        trust = member_at(mesh, person.name).trust
        others = {name: member_at(mesh, name).author.public_key for name in mesh.names}
        names = [name for name, key in others.items() if trust.is_admin(key)]
        if names not in seen:
            seen.append(names)
    return seen


def test_admins_are_made_and_ended_by_the_root_alone() -> None:
    mesh = a_mesh()
    assert admins(mesh) == [["a", "b", "c"]]
    assert refused(mesh, "b", TrustPromote(node="d")) == "root_needed"
    tell(mesh, "a", TrustPromote(node="d"))
    mesh.run_until(lambda: admins(mesh) == [["a", "b", "c", "d"]], 10)
    tell(mesh, "d", TrustInvite())
    assert refused(mesh, "a", TrustDemote(node="e")) == "not_admin"
    tell(mesh, "a", TrustDemote(node="d"))
    mesh.run_until(lambda: admins(mesh) == [["a", "b", "c"]], 10)
    assert refused(mesh, "d", TrustInvite()) == "not_admin"
    assert refused(mesh, "a", TrustPromote(node="d")) == "was_admin"
    assert mesh.everyone_sees_everyone(), "it goes on as a member"
    shown = tell(mesh, "e", TrustAdmins())
    assert isinstance(shown["admins"], list)
    assert len(shown["admins"]) == 3


def test_an_admin_more_than_a_mesh_has_is_not_made() -> None:
    mesh = a_mesh()
    root = node_at(mesh, "a").admissions.roots.root()
    assert root is not None
    trust = member_at(mesh, "a").trust
    for number in range(ADMINS_MAX - len(trust.admins())):
        key = mesh.world.suite.public_key(SigningKey(bytes([number + 1]) * 32))
        trust.accept(root.sign([Admin(key)])[0])
    assert refused(mesh, "a", TrustPromote(node="d")) == "trust_full"
    assert len(trust.admins()) == ADMINS_MAX
    tell(mesh, "a", TrustDemote(node="b"))
    tell(mesh, "a", TrustPromote(node="d"))


def test_whom_an_admin_has_let_in_stays_when_it_is_one_no_more() -> None:
    mesh = a_mesh()
    tell(mesh, "a", TrustDemote(node="a"))  # a has certified everybody
    mesh.run_until(lambda: admins(mesh) == [["b", "c"]], 10)
    assert mesh.everyone_sees_everyone()
    tell(mesh, "b", TrustInvite())


def test_the_root_is_replaced_by_the_one_that_was_promised() -> None:
    mesh = a_mesh()
    kept = tell(mesh, "a", RootExport())
    answer = tell(mesh, "a", TrustRotate())
    assert answer["fingerprint"] != kept["fingerprint"]
    mesh.run_until(lambda: roots(mesh) == [answer["fingerprint"]], 10)
    assert admins(mesh) == [["a", "b", "c"]], "what the former root had said was listed"
    former = str(kept["root"])
    assert refused(mesh, "b", TrustPromote(node="d", root=former)) == "not_the_root"
    tell(mesh, "a", TrustPromote(node="d"))
    mesh.run_until(lambda: admins(mesh) == [["a", "b", "c", "d"]], 10)
    mesh.restart(*mesh.names)
    mesh.run(s=5)
    assert roots(mesh) == [answer["fingerprint"]]
    tell(mesh, "a", TrustRotate())
    mesh.run_until(lambda: len(roots(mesh)) == 1 and roots(mesh) != [answer["fingerprint"]], 10)
    assert mesh.everyone_sees_everyone()


def roots(mesh: Mesh) -> list[Json]:
    """Return the fingerprints of the root as each node sees it, each once."""
    shown: dict[str, Json] = {}
    for name in mesh.names:
        root = tell(mesh, name, TrustAdmins())["root"]
        assert isinstance(root, dict)
        shown[str(root["fingerprint"])] = root["fingerprint"]
    return list(shown.values())


def test_keys_on_paper_do_what_the_keys_on_disk_did() -> None:
    mesh = a_mesh()
    kept = tell(mesh, "a", RootExport())
    root, following = str(kept["root"]), str(kept["next"])
    assert refused(mesh, "b", RootExport()) == "root_needed"
    assert refused(mesh, "a", RootLock(root=root, next=root)) == "bad_root_key"
    tell(mesh, "a", RootLock(root=root, next=following))
    assert refused(mesh, "a", RootExport()) == "root_needed"
    assert refused(mesh, "a", TrustRemove("b")) == "root_needed"
    assert refused(mesh, "a", TrustRotate()) == "root_needed"
    assert not list(mesh.world.hosts["a"].disk.restored().get("root_key", {}))
    # The machine that founded the mesh is lost; the paper is not.
    mesh.kill("a")
    mesh.run(s=3)
    tell(mesh, "c", TrustPromote(node="d", root=root))
    mesh.run_until(lambda: member_is_admin(mesh, "e", "d"), 10)
    assert refused(mesh, "c", TrustRotate(root=root)) == "not_the_next_root"
    tell(mesh, "c", TrustRotate(root=following))
    mesh.run(s=3)
    tell(mesh, "c", TrustRemove("b"))
    mesh.run_until(lambda: "b" not in mesh["e"].members(), 10)


def member_is_admin(mesh: Mesh, at: str, name: str) -> bool:
    """Whether a node counts another one as an admin."""
    return member_at(mesh, at).trust.is_admin(member_at(mesh, name).author.public_key)


def test_the_root_goes_back_on_a_disk() -> None:
    mesh = a_mesh()
    kept = tell(mesh, "a", RootExport())
    root, following = str(kept["root"]), str(kept["next"])
    assert refused(mesh, "b", RootKeep(root=following)) == "not_the_root"
    assert refused(mesh, "b", RootKeep(root=root, next=root)) == "not_the_next_root"
    assert refused(mesh, "b", RootKeep(root="AAAA")) == "bad_root_key"
    tell(mesh, "b", RootKeep(root=root, next=following))
    mesh.restart("b")
    mesh.run(s=3)
    assert tell(mesh, "b", RootExport()) == kept


def test_a_removal_for_which_there_is_no_room_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = a_mesh()
    mesh["e"].submit("kept")
    mesh.run(s=1)
    member = member_at(mesh, "a")
    before = member.trust.records()
    with monkeypatch.context() as patch:
        patch.setattr(trust_module, "REVOCATIONS_MAX", 0)
        assert refused(mesh, "a", TrustRemove("e")) == "trust_full"
    assert member.trust.records() == before, "no page either, of which nobody else would hear"
    tell(mesh, "a", TrustRemove("e"))
    mesh.run_until(lambda: "e" not in mesh["b"].members(), 10)
    mesh.run_until(mesh.converged, 40)


def test_the_words_of_an_admin_whom_the_new_root_does_not_list_count_no_more_after_a_restart() -> (
    None
):
    mesh = a_mesh()
    root = str(tell(mesh, "a", RootExport())["root"])
    mesh.partition(["b", "e"], mesh.rest("b", "e"))
    mesh.run(s=5)
    tell(mesh, "b", TrustPromote(node="e", root=root))
    mesh.run(s=1)
    creator, liar = member_at(mesh, "d"), Liar(mesh, "e")
    key = liar.member.author.public_key
    liar.say_to("b", liar.sign(Forget(creator.author.id, creator.boot, (1, 1))))
    black = member_at(mesh, "b").table.forgotten
    assert black.facts(creator.author.id), "an admin has said so"
    mesh.kill("e")
    tell(mesh, "a", TrustRotate())
    mesh.repair()
    mesh.run(s=20)
    assert not member_at(mesh, "b").trust.is_admin(key), "the rotation does not list that"
    assert not black.facts(creator.author.id)
    mesh.restart("b")
    mesh.run(s=5)
    assert not member_at(mesh, "b").table.forgotten.facts(creator.author.id)


@pytest.mark.parametrize("start", [False, True])
def test_nobody_is_taken_for_another_by_calling_itself_so(start: bool) -> None:
    mesh = a_mesh()
    own, meant = member_at(mesh, "e").membership._own, member_at(mesh, "d").author
    said = meant.id.hex()[:8] if start else fingerprint(meant.public_key)
    own.fact = replace(own.fact, name=said)
    mesh["e"].attach("build")  # its next presence says so
    mesh.run_until(lambda: said in mesh["a"].members(), 10)
    assert refused(mesh, "a", TrustPromote(node=said)) == "ambiguous"
    tell(mesh, "a", TrustPromote(node=meant.public_key.hex()))
    assert member_is_admin(mesh, "a", "d")
    assert not member_is_admin(mesh, "a", "e")
