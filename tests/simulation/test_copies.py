"""What is acknowledged with n copies survives n - 1 disks, with the bytes that it names."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest

from mesh.core.commands import TaskComplete, TaskReopen, TaskSubmit
from mesh.core.params import params_for
from mesh.sim.engine import Conditions
from mesh.sim.world import USUAL
from tests.simulation.conftest import MeshOf
from tests.simulation.copying import (
    ENCODED,
    LOSSY,
    PROMPT,
    holders,
    lost_checkpoint,
    lost_owner,
    lost_submitter,
)
from tests.simulation.test_blobs import LARGE, put

Story = Callable[[int, Conditions], int]


@pytest.mark.parametrize("story", [lost_submitter, lost_owner, lost_checkpoint])
def test_bytes_outlive_the_disk_on_which_they_were_acknowledged(story: Story) -> None:
    assert story(1, USUAL) >= 2


@pytest.mark.parametrize("story", [lost_submitter, lost_owner, lost_checkpoint])
def test_and_so_they_do_where_messages_are_lost(story: Story, seeds: range) -> None:
    told = [story(seed, LOSSY) for seed in seeds]
    assert max(told) >= 2, "somebody had its copy in time"


@pytest.mark.parametrize("story", [lost_owner, lost_checkpoint])
def test_a_node_that_works_on_its_own_task_has_copies_elsewhere(
    story: Callable[[int, Conditions, str], int],
) -> None:
    assert story(1, USUAL, "b") >= 2


def test_only_a_few_fetch_what_nobody_waits_for(meshes: MeshOf) -> None:
    mesh = meshes(6)
    answer = mesh["a"].tell(TaskSubmit("build", ENCODED, copies=3))
    assert answer.number("copies") == 3
    mesh.run(s=5)
    assert len(holders(mesh)) == 3
    other = b64encode(PROMPT[1:]).decode()
    again = mesh["a"].tell(TaskSubmit("build", other, copies=8))
    assert again.number("copies") == 3, "nobody else fetches it, and so nobody is waited for"


def test_who_reopens_a_task_whose_bytes_it_has_not_counts_those_who_have_them(
    meshes: MeshOf,
) -> None:
    mesh = meshes(5)
    mesh["a"].submit("build", TaskSubmit("build", ENCODED))
    mesh.run(s=1)
    without = [name for name in "bcde" if name not in holders(mesh)]
    mesh["a"].cancel("build")
    mesh.run(s=1)
    answer = mesh[without[0]].tell(TaskReopen(mesh.known("build"), copies=8))
    assert 2 <= answer.number("copies") <= len(holders(mesh))
    mesh.run_until(lambda: without[0] in holders(mesh))


def test_nothing_is_promised_where_nobody_has_room(meshes: MeshOf) -> None:
    params = params_for("local")
    mesh = meshes(3, params=replace(params, blobs=replace(params.blobs, quota_bytes=12_000)))
    for name in "bc":
        put(mesh, name, PROMPT[:9_000])
    begun = mesh.world.now_s
    answer = mesh["a"].tell(TaskSubmit("build", ENCODED))
    assert answer.number("copies") == 1
    assert mesh.world.now_s - begun < params.claims.blob_copies_wait_s, "they say so at once"
    assert holders(mesh) == ["a"]


def test_a_large_blob_is_counted_where_it_is_and_not_waited_for(meshes: MeshOf) -> None:
    mesh = meshes(3)
    digest = put(mesh, "a", LARGE)
    begun = mesh.world.now_s
    mesh["a"].submit("build", TaskSubmit("build", blob=digest))
    shown = mesh["a"].tell(TaskSubmit("build", blob=digest))
    assert shown.number("copies") == 1
    assert mesh.world.now_s - begun < mesh.world.params.claims.blob_copies_wait_s
    mesh.run(s=1)
    handle = mesh["b"].claim("build", wait_s=30.0).text("handle")
    mesh["b"].start("build")
    result = put(mesh, "b", LARGE[:200_000])
    done = mesh["b"].tell(TaskComplete(handle, blob=result))
    assert done.number("copies") == 2, "the submitter's node has fetched it"
