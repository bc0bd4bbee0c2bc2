"""What `mesh members` imports: start-up time is kept by keeping modules out."""

import sys
from pathlib import Path

import trio

from mesh.core.commands import MemberList
from tests.unit.control.fake_node import fake_node

ROOT = str(Path(__file__).parents[2])
HEAVY = (
    "trio",
    "cryptography",
    "msgpack",
    "msgspec",
    "asyncio",
    "dataclasses",
    "inspect",
    "pathlib",
    "subprocess",
    "tempfile",
    "logging",
    "datetime",
    "ssl",
)
OWN_ALLOWED = {
    "mesh",
    "mesh.__main__",
    "mesh.cli",
    "mesh.cli.exit_codes",
    "mesh.cli.main",
    "mesh.cli.members",
    "mesh.cli.options",
    "mesh.cli.output",
    "mesh.cli.parsing",
    "mesh.cli.values",
    "mesh.control",
    "mesh.control.client",
}


async def test_members_imports_the_standard_library_and_little_else(tmp_path: Path) -> None:
    async with fake_node(tmp_path, {MemberList: lambda _: {"members": []}}) as node:
        done = await trio.run_process(
            # Without site: what an installation loads at start-up is not ours to keep out.
            [sys.executable, "-S", "-X", "importtime", "-m", "mesh", "members"],
            capture_stdout=True,
            capture_stderr=True,
            env={"MESH_SOCKET": node.path, "PYTHONPATH": ROOT},
        )
    assert done.stdout.startswith(b"NAME")
    lines = done.stderr.decode().splitlines()[1:]
    imported = {line.rsplit("|", maxsplit=1)[1].strip() for line in lines}
    assert "argparse" in imported
    assert {name for name in imported if name.split(".")[0] in HEAVY} == set()
    assert {name for name in imported if name.split(".")[0] == "mesh"} <= OWN_ALLOWED
