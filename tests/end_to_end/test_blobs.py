"""Large payloads and outputs through the command, on real nodes."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from mesh.cli.demo import DemoNode, wait_for
from mesh.control import blobs
from mesh.control.client import Client, Refused
from tests.end_to_end.processes import RealMesh, claim, submit
from tests.end_to_end.test_command import mesh, worker
from tests.unit.core.blobs.pieces import content

LARGE = content(3_000_000)


def test_a_large_file_there_and_back(real_mesh: RealMesh, folder: Path) -> None:
    first, second = real_mesh.start(2)
    sent, back = folder / "sent", folder / "back"
    sent.write_bytes(LARGE)
    worker(second, "rev", "sh", "-c", "cat; printf end")
    task = mesh(first, "task", "submit", "rev", f"@{sent}", "-q").strip()
    shown = json.loads(mesh(first, "task", "wait", task, "--json"))["task"]
    digest = hashlib.blake2b(LARGE + b"end", digest_size=32).hexdigest()
    assert shown["result"]["blob"] == {"digest": digest, "size": len(LARGE) + 3}
    mesh(first, "task", "result", task, "-o", str(back))
    assert back.read_bytes() == LARGE + b"end"
    real_mesh.kill(second)
    back.unlink()
    mesh(first, "task", "result", task, "-o", str(back))
    assert back.read_bytes() == LARGE + b"end", "also without the node that made it"


def test_a_gibibyte_is_refused_before_it_is_read(real_mesh: RealMesh, folder: Path) -> None:
    (node,) = real_mesh.start(1)
    with (folder / "huge").open("wb") as file:
        file.truncate(1 << 30)
    message = mesh(node, "task", "submit", "build", f"@{folder / 'huge'}", code=2)
    assert "64 MiB" in message
    assert json.loads(mesh(node, "task", "list", "--json"))["tasks"] == []


def test_64_mib_are_allowed_and_a_byte_more_is_refused_with_what_to_do(
    real_mesh: RealMesh, folder: Path
) -> None:
    (node,) = real_mesh.start(1)
    allowed = node.call("blob.put", digest="0" * 64, size=64 << 20)
    assert (allowed["stored"], allowed["complete"]) == (0, False)
    with pytest.raises(Refused, match="64 MiB") as refused:
        node.call("blob.put", digest="1" * 64, size=(64 << 20) + 1)
    assert (refused.value.name, bool(refused.value.hint)) == ("blob_too_large", True)
    with (folder / "large").open("wb") as file:
        file.truncate((64 << 20) + 1)
    assert "64 MiB" in mesh(node, "task", "submit", "build", f"@{folder / 'large'}", code=2)
    handle = claim(node, submit(node))["handle"]
    output = base64.b64encode(bytes(65_537)).decode()
    with pytest.raises(Refused, match="at most 65536") as refused:
        node.call("task.complete", handle=handle, output=output)
    assert "blob.put" in refused.value.hint
    node.call("task.complete", handle=handle, output=output[: -4 * 10])


def test_results_of_any_bytes_come_back_as_they_were(real_mesh: RealMesh, folder: Path) -> None:
    first, second = real_mesh.start(2)
    every_byte = bytes(range(256)) * 400
    (folder / "binary").write_bytes(every_byte)
    worker(second, "nothing", "true")
    task = mesh(first, "task", "submit", "nothing", "-q").strip()
    mesh(first, "task", "wait", task)
    mesh(first, "task", "result", task, "-o", str(folder / "empty"))
    assert (folder / "empty").read_bytes() == b""
    handle = claim(second, _known(second, submit(first)))["handle"]
    with Client.connect(str(second.socket)) as client:
        digest = blobs.put(client, every_byte)
        done = client.call("task.complete", handle=handle, blob=digest)
    mesh(first, "task", "result", done["task"], "-o", str(folder / "back"))
    assert (folder / "back").read_bytes() == every_byte


def _known(node: DemoNode, task: str) -> str:
    wait_for("the task", lambda: any(t["id"] == task for t in node.call("task.list")["tasks"]), 20)
    return task
