"""Seeing a mesh at work, through the command."""

import json

from tests.end_to_end.processes import RealMesh, claim, submit
from tests.end_to_end.test_command import mesh, worker


def test_top_tax_and_filters_tell_what_happens(real_mesh: RealMesh) -> None:
    first, second = real_mesh.start(2)
    worker(second, "upper", "tr", "a-z", "A-Z")
    for number in range(3):
        assert mesh(first, "task", "submit", "upper", f"t{number}", "--wait") == f"T{number}"
    held = submit(first, kind="slow")
    claim(first, held, agent="ann")
    frame = mesh(first, "top")
    assert "2 members" in frame
    assert "ann on" in frame
    assert "\x1b" not in frame, "nobody looks at it"
    bill = json.loads(mesh(first, "tax", "--json"))["tax"]
    assert bill["tasks"] == 3
    assert bill["kinds"]["push"]["messages"] > 0
    assert bill["verifications"] > 0
    assert "BYTES/TASK" in mesh(second, "tax")
    assert mesh(first, "task", "list", "--owner", "ann", "-q").split() == [held]
    assert len(mesh(first, "task", "list", "--state", "completed", "-q").split()) == 3
    assert mesh(first, "task", "list", "--duplicates", "-q") == ""
    assert mesh(first, "task", "list", "--conflicts", "-q") == ""
    assert len(mesh(first, "task", "list", "--since", "1h", "-q").split()) == 4
