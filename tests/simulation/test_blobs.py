"""What is too large for a fact travels by its hash: fetched before work, kept on two disks."""

from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from msgspec import structs

from mesh.core.blob_commands import BlobFetch, BlobGet, BlobPut
from mesh.core.blobs.messages import PART_BYTES_MAX
from mesh.core.claims.lodging import INLINE_BYTES_MAX
from mesh.core.commands import (
    TaskAccept,
    TaskClaim,
    TaskComplete,
    TaskOffer,
    TaskProgress,
    TaskSubmit,
)
from mesh.core.identity import BlobId
from mesh.core.params import Params, params_for
from mesh.core.snapshot import TaskState
from mesh.sim.scenario import Mesh, Refused
from tests.simulation.conftest import MeshOf
from tests.simulation.hunting import shown_part
from tests.simulation.test_garbage import member
from tests.unit.core.blobs.pieces import PIECE, content, name_of

LARGE = content(900_000)
OUTPUT = content(400_000, mark=b"out")
LEFT = content(60_000, mark=b"left")


def small_quota() -> Params:
    params = params_for("local")
    return replace(params, blobs=replace(params.blobs, quota_bytes=1_000_000))


def forgetful(retention_s: float) -> Params:
    """Keep finished tasks for so long, and what nobody uses for seconds."""
    base = params_for("local")
    claims = replace(base.claims, retention_s=retention_s)
    return replace(base, claims=claims, blobs=replace(base.blobs, unused_keep_s=5.0))


def put(mesh: Mesh, name: str, data: bytes) -> str:
    """Store bytes at a node, as a client does, and return their digest."""
    digest = name_of(data).hex()
    stored, complete = 0, False
    while not complete:
        piece = b64encode(data[stored : stored + PIECE]).decode()
        answer = mesh[name].tell(BlobPut(digest, len(data), stored, piece)).result
        assert isinstance(answer, dict)
        stored, complete = int(str(answer["stored"])), answer["complete"] is True
    return digest


def read(mesh: Mesh, name: str, digest: str, size: int) -> bytes:
    """Return the content of a blob at a node."""
    data = b""
    while len(data) < size:
        answer = mesh[name].tell(BlobGet(digest, len(data))).result
        assert isinstance(answer, dict)
        data += b64decode(str(answer["data"]))
    return data


def has(mesh: Mesh, name: str, data: bytes) -> bool:
    return member(mesh, name).blobs.has(name_of(data))


def received(mesh: Mesh, name: str) -> int:
    return member(mesh, name).blobs.counters().get("blob_bytes_received", 0)


def submit_large(mesh: Mesh, name: str, data: bytes = LARGE) -> str:
    digest = put(mesh, name, data)
    return mesh[name].submit("build", TaskSubmit(kind="build", blob=digest))


def test_a_large_payload_is_here_before_a_claim_is_given(meshes: MeshOf) -> None:
    mesh = meshes(3)
    submit_large(mesh, "a")
    mesh.run(s=2)
    assert not has(mesh, "c", LARGE), "nobody waits there"
    answer = mesh["c"].claim_next("build", wait_s=30).result
    assert isinstance(answer, dict)
    assert answer["blob"] == {"digest": name_of(LARGE).hex(), "size": len(LARGE)}
    assert has(mesh, "c", LARGE)
    assert not has(mesh, "b", LARGE)
    assert read(mesh, "c", name_of(LARGE).hex(), len(LARGE)) == LARGE


def test_a_large_result_survives_its_author(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("build")
    mesh.run(s=1)
    mesh["c"].claim("build")
    mesh["c"].start("build")
    digest = put(mesh, "c", OUTPUT)
    mesh["c"].tell(TaskComplete(mesh["c"].handle("build"), blob=digest))
    mesh.run_until(lambda: has(mesh, "a", OUTPUT))
    mesh.kill("c", machine=True)
    mesh.world.destroy_disk("c")
    assert read(mesh, "a", digest, len(OUTPUT)) == OUTPUT
    mesh["b"].tell(BlobFetch(digest, len(OUTPUT)))
    assert read(mesh, "b", digest, len(OUTPUT)) == OUTPUT


SMALL = 4 * PART_BYTES_MAX


@pytest.mark.parametrize(
    "size",
    [0, 1, 700, 701, PART_BYTES_MAX - 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, SMALL - 1, SMALL],
)
def test_a_result_of_any_size_that_is_allowed_comes_as_it_was(meshes: MeshOf, size: int) -> None:
    params = params_for("local")
    mesh = meshes(2, params=replace(params, blobs=replace(params.blobs, blob_bytes_max=SMALL)))
    data = content(size)
    mesh["a"].submit("build")
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].start("build")
    inline = size <= INLINE_BYTES_MAX
    given = TaskComplete(handle, b64encode(data).decode() if inline else "")
    named = None if inline else put(mesh, "b", data)
    mesh["b"].tell(structs.replace(given, blob=named))
    mesh.run_until(lambda: mesh["a"].view("build").state is TaskState.COMPLETED)  # type: ignore[union-attr]  # it was submitted
    result = shown_part(mesh, "a", "build", "result")
    assert result["digest"] == name_of(data).hex()
    if size <= 700:
        assert (result["output"], result["blob"]) == (b64encode(data).decode(), None)
        return
    assert result["blob"] == {"digest": name_of(data).hex(), "size": size}
    mesh.run_until(lambda: has(mesh, "a", data))
    assert read(mesh, "a", name_of(data).hex(), size) == data
    assert has(mesh, "b", data), "its owner keeps it as well"


def test_a_result_is_kept_by_owner_and_submitter_until_retention_and_no_longer(
    meshes: MeshOf,
) -> None:
    mesh = meshes(3, params=forgetful(60.0))
    mesh["a"].submit("build")
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].start("build")
    mesh["b"].tell(TaskComplete(handle, blob=put(mesh, "b", OUTPUT)))
    mesh.run_until(lambda: has(mesh, "a", OUTPUT))
    mesh.restart("a", "b")
    mesh.run(s=30)
    assert [has(mesh, name, OUTPUT) for name in mesh.names] == [True, True, False]
    mesh.run(s=90)
    assert not any(has(mesh, name, OUTPUT) for name in mesh.names)
    assert not any(mesh.world.hosts[name].disk.blobs.whole for name in mesh.names)


def test_a_result_of_one_byte_too_many_is_refused(meshes: MeshOf) -> None:
    params = params_for("local")
    mesh = meshes(2, params=replace(params, blobs=replace(params.blobs, blob_bytes_max=SMALL)))
    with pytest.raises(Refused, match=f"{SMALL + 1} bytes: a blob has 1 to {SMALL}") as refused:
        put(mesh, "b", content(SMALL + 1))
    assert refused.value.name == "blob_too_large"


def test_a_broken_connection_costs_what_was_under_way(meshes: MeshOf) -> None:
    mesh = meshes(3)
    digest = put(mesh, "a", LARGE)
    wish = mesh["c"].ask(BlobFetch(digest, len(LARGE)))
    mesh.run_until(lambda: received(mesh, "c") > len(LARGE) // 3)
    mesh.partition(["c"], ["a", "b"])
    mesh.run(s=10)
    assert not wish.done
    mesh.repair()
    mesh.run_until(lambda: wish.done)
    assert wish.error is None
    assert received(mesh, "c") < 1.5 * len(LARGE)


def test_a_restart_in_the_middle_goes_on_from_the_disk(meshes: MeshOf) -> None:
    mesh = meshes(3)
    submit_large(mesh, "a")
    mesh.run(s=1)
    mesh["c"].ask(TaskClaim(kinds=("build",), wait_s=60))
    mesh.run_until(lambda: received(mesh, "c") > len(LARGE) // 2)
    mesh.restart("c")
    mesh.run_until(mesh.everyone_sees_everyone)
    mesh["c"].claim_next("build", wait_s=30)
    assert read(mesh, "c", name_of(LARGE).hex(), len(LARGE)) == LARGE


def test_bytes_that_are_not_what_their_name_says_are_never_used(meshes: MeshOf) -> None:
    mesh = meshes(3)
    digest = put(mesh, "a", LARGE)
    mesh["b"].tell(BlobFetch(digest, len(LARGE)))
    disk = mesh.world.hosts["a"].disk.blobs
    disk.whole[BlobId(bytes.fromhex(digest))] = b"X" + LARGE[1:]
    mesh["c"].tell(BlobFetch(digest, len(LARGE)))
    assert read(mesh, "c", digest, len(LARGE)) == LARGE
    mesh.kill("b")
    with pytest.raises(Refused):
        mesh["c"].tell(BlobPut("00" * 32, 3, 0, "eHh4"))


def test_what_does_not_fit_is_refused_in_clear_words(meshes: MeshOf) -> None:
    mesh = meshes(1, params=small_quota())
    with pytest.raises(Refused) as refused:
        mesh["a"].tell(BlobPut("00" * 32, 1 << 30))
    assert refused.value.name == "blob_too_large"
    put(mesh, "a", LARGE)
    with pytest.raises(Refused) as refused:
        mesh["a"].tell(BlobPut("00" * 32, len(OUTPUT)))
    assert refused.value.name == "blob_quota"
    with pytest.raises(Refused) as refused:
        mesh["a"].tell(TaskSubmit(kind="build", blob=name_of(OUTPUT).hex()))
    assert refused.value.name == "blob_not_here"
    with pytest.raises(Refused) as refused:
        mesh["a"].tell(TaskSubmit(kind="build", payload="eA==", blob=name_of(LARGE).hex()))
    assert refused.value.name == "two_payloads"


def test_small_blobs_fill_no_table(meshes: MeshOf) -> None:
    params = params_for("local")
    mesh = meshes(1, params=replace(params, blobs=replace(params.blobs, blobs_max=2)))
    for number in (1, 2):
        mesh["a"].tell(BlobPut(f"{number:064x}", 1))
    with pytest.raises(Refused) as refused:
        mesh["a"].tell(BlobPut(f"{3:064x}", 1))
    assert refused.value.name == "blob_quota"
    mesh["a"].tell(BlobPut(f"{2:064x}", 1))


def test_a_blob_goes_with_the_last_task_that_names_it(meshes: MeshOf) -> None:
    mesh = meshes(3, params=forgetful(10.0))
    submit_large(mesh, "a")
    mesh["c"].claim_next("build", wait_s=30)
    mesh["c"].start("build")
    mesh["c"].complete("build")
    mesh.run_until(lambda: mesh["a"].view("build").state is TaskState.COMPLETED)  # type: ignore[union-attr]  # it was submitted
    assert has(mesh, "a", LARGE)
    mesh.run(s=30)
    assert not any(has(mesh, name, LARGE) for name in mesh.names)
    assert not any(mesh.world.hosts[name].disk.blobs.whole for name in mesh.names)


def test_a_full_disk_is_said_and_forgiven(meshes: MeshOf) -> None:
    mesh = meshes(2)
    digest = put(mesh, "a", OUTPUT)
    mesh.world.hosts["b"].disk.full = True
    wish = mesh["b"].ask(BlobFetch(digest, len(OUTPUT)))
    with pytest.raises(Refused) as refused:
        mesh["b"].tell(BlobPut("00" * 32, 3, 0, "eHh4"))
    assert refused.value.name == "blob_disk"
    mesh.run(s=5)
    assert not wish.done
    mesh.world.hosts["b"].disk.mend()
    mesh.run_until(lambda: wish.done)
    assert wish.error is None


# ---- what an owner leaves to the next one


def test_m11_a_large_checkpoint_outlives_its_author_who_submitted_the_task_as_well(
    meshes: MeshOf,
) -> None:
    """Beside the submitter, who would claim next has fetched it."""
    mesh = meshes(3)
    mesh["b"].submit("items")
    mesh.run(s=1)
    handle = mesh["b"].claim("items").text("handle")
    mesh["b"].start("items")
    digest = put(mesh, "b", LEFT)
    mesh["b"].tell(TaskProgress(handle, checkpoint_blob=digest))
    mesh.run_until(lambda: has(mesh, "a", LEFT) or has(mesh, "c", LEFT))
    mesh.kill("b", machine=True)
    mesh.world.destroy_disk("b")
    answer = mesh["a"].claim("items", wait_s=60.0).result
    assert isinstance(answer, dict)
    kept = answer["checkpoint"]
    assert isinstance(kept, dict)
    assert (kept["digest"], kept["size"]) == (digest, len(LEFT))
    mesh["a"].tell(BlobFetch(digest, len(LEFT)))
    assert read(mesh, "a", digest, len(LEFT)) == LEFT


def test_a_large_checkpoint_in_the_request_itself_outlives_its_author(meshes: MeshOf) -> None:
    mesh = meshes(3)
    mesh["a"].submit("items")
    mesh.run(s=1)
    handle = mesh["b"].claim("items").text("handle")
    mesh["b"].start("items")
    given = TaskProgress(handle, checkpoint=b64encode(LEFT).decode())
    assert mesh["b"].tell(given).result is not None
    mesh.run_until(lambda: has(mesh, "a", LEFT))
    mesh.kill("b", machine=True)
    mesh.world.destroy_disk("b")
    answer = mesh["c"].claim("items", wait_s=60.0).result
    assert isinstance(answer, dict)
    kept = answer["checkpoint"]
    assert isinstance(kept, dict)
    mesh["c"].tell(BlobFetch(str(kept["digest"]), len(LEFT)))
    assert read(mesh, "c", str(kept["digest"]), len(LEFT)) == LEFT


def test_a_full_disk_refuses_large_bytes_in_requests_and_loses_nothing(meshes: MeshOf) -> None:
    mesh = meshes(2)
    mesh["a"].submit("items")
    mesh.run(s=1)
    handle = mesh["b"].claim("items").text("handle")
    mesh["b"].start("items")
    mesh.world.hosts["b"].disk.full = True
    large = TaskComplete(handle, b64encode(LEFT).decode())
    with pytest.raises(Refused) as refused:
        mesh["b"].tell(large)
    assert refused.value.name == "blob_disk"
    mesh.world.hosts["b"].disk.mend()
    mesh["b"].tell(large)
    mesh.run_until(lambda: has(mesh, "a", LEFT))


def test_an_accept_waits_for_its_context_while_the_giver_stays_the_owner(meshes: MeshOf) -> None:
    mesh = meshes(3, params=forgetful(10.0))
    mesh["a"].submit("build")
    mesh.run(s=1)
    handle = mesh["b"].claim("build").text("handle")
    mesh["b"].start("build")
    digest = put(mesh, "b", LEFT)
    shelf = mesh.world.hosts["b"].disk.blobs.whole
    lent = shelf.pop(name_of(LEFT))
    mesh["b"].tell(TaskOffer(handle, to="c", context_blob=digest))
    mesh.run(s=2)
    task = mesh.known("build")
    with pytest.raises(Refused) as refused:
        mesh["c"].tell(TaskAccept(task))
    assert refused.value.name == "context_not_here"
    assert mesh.everyone_agrees("build", holder="b")
    shelf[name_of(LEFT)] = lent
    mesh.run_until(lambda: has(mesh, "c", LEFT) and has(mesh, "a", LEFT))
    taken = mesh["c"].tell(TaskAccept(task, detached=True)).text("handle")
    mesh.run_until(lambda: mesh.everyone_agrees("build", holder="c"))
    assert read(mesh, "c", digest, len(LEFT)) == LEFT
    mesh["c"].tell(TaskComplete(taken))
    mesh.run_until(lambda: mesh["a"].view("build").state is TaskState.COMPLETED)  # type: ignore[union-attr]  # it was submitted
    assert all(has(mesh, name, LEFT) for name in mesh.names), "until retention"
    mesh.run(s=40)
    assert not any(has(mesh, name, LEFT) for name in mesh.names)


def test_of_many_checkpoints_only_the_newest_takes_up_room(meshes: MeshOf) -> None:
    """Nor does one go that is the task's payload as well."""
    base = params_for("local")
    mesh = meshes(3, params=replace(base, blobs=replace(base.blobs, unused_keep_s=5.0)))
    digest = put(mesh, "a", LEFT)
    mesh["a"].submit("items", TaskSubmit(kind="items", blob=digest))
    mesh.run(s=1)
    handle = mesh["b"].claim("items", wait_s=30.0).text("handle")
    mesh["b"].start("items")
    states = [LEFT, *(content(20_000, mark=bytes([mark])) for mark in range(1, 10))]
    for state in states:
        mesh["b"].tell(TaskProgress(handle, checkpoint_blob=put(mesh, "b", state)))
    mesh.run(s=20)
    for name in "ab":
        assert [has(mesh, name, state) for state in states] == [True, *[False] * 8, True]
