"""`mesh doctor` on real nodes: in health, and with what goes wrong most."""

import json
from pathlib import Path
from typing import Any

from tests.end_to_end.processes import RealMesh, run_mesh


def findings(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = run_mesh("doctor", "--json", *arguments)
    return done.returncode, json.loads(done.stdout)["findings"]


def test_the_doctor_finds_nothing_in_health_and_names_what_is_wrong(tmp_path: Path) -> None:
    mesh = RealMesh(tmp_path)
    try:
        a, b = mesh.start(2)
        data = ("--data", str(b.folder / "data"))
        code, found = findings("--socket", str(b.socket), *data)
        assert code == 0, found
        shown = run_mesh("doctor", "--socket", str(b.socket), *data)
        assert "this node answers at" in shown.stdout
        assert {each["level"] for each in found} == {"ok"}
        assert {each["check"] for each in found} == {
            *("state", "node", "address", "members", "clock"),
        }
        ticket = a.call("trust.invite", uses=1, ttl_s=60.0)["ticket"]
        nothing = ("--socket", str(tmp_path / "nobody.sock"), "--data", str(tmp_path / "none"))
        code, found = findings(*nothing, "--join", ticket)
        assert code == 1
        assert [each["level"] for each in found] == ["note", "wrong", "ok", "ok"]
        assert found[1]["hint"] == "start it with `mesh up`"
        mesh.kill(a)
        code, found = findings("--socket", str(b.socket), *data, "--join", ticket)
        assert code == 1
        assert any("nobody answers" in each["says"] for each in found)
    finally:
        mesh.stop()
