"""Large payloads and outputs through the command, on real nodes."""

import hashlib
import json
from pathlib import Path

from tests.end_to_end.processes import RealMesh
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
    message = mesh(node, "task", "submit", "build", f"@{folder / 'huge'}", code=1)
    assert "64 MiB" in message
    assert json.loads(mesh(node, "task", "list", "--json"))["tasks"] == []
