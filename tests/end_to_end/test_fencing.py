"""Where work meets a resource: the examples of docs/howto/fencing.md, run as they stand there."""

import http.client
import http.server
import json
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.end_to_end.processes import RealMesh, claim, run_mesh, submit

OLD = "00000001-0000000000000001-" + "1" * 32 + "-" + "a" * 16
NEW = "00000002-0000000000000001-" + "1" * 32 + "-" + "b" * 16


# ---- SQL: the row remembers the greatest token


def save(database: sqlite3.Connection, token: str, value: str) -> bool:
    """Write only if nobody with a greater token has written."""
    with database:
        changed = database.execute(
            "UPDATE report SET value = ?, fence = ? WHERE id = 1 AND fence <= ?",
            (value, token, token),
        )
    return changed.rowcount == 1


def test_a_row_takes_no_write_of_a_lesser_token() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE report (id INTEGER PRIMARY KEY, value TEXT, fence TEXT)")
        database.execute("INSERT INTO report VALUES (1, '', '')")
        assert save(database, OLD, "half")
        assert save(database, NEW, "whole")
        assert not save(database, OLD, "half again")
        assert save(database, NEW, "whole, corrected")
        row = database.execute("SELECT value, fence FROM report").fetchone()
    assert row == ("whole, corrected", NEW)


# ---- git: a branch moves only from where its last owner has left it


def git(folder: Path, *arguments: str, code: int = 0) -> str:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (code == 0), done.stderr
    return done.stdout.strip()


def test_a_branch_is_pushed_with_a_lease(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "origin.git")
    for who in ("old", "new"):
        git(tmp_path, "clone", "-q", "origin.git", who)
        git(tmp_path / who, "checkout", "-q", "-b", "task-7")
    old, new = tmp_path / "old", tmp_path / "new"
    git(old, "commit", "-q", "--allow-empty", "-m", f"half\n\nMesh-Token: {OLD}")
    git(old, "push", "-q", "origin", "task-7")
    git(new, "pull", "-q", "origin", "task-7")
    seen = git(new, "rev-parse", "HEAD")
    git(new, "commit", "-q", "--amend", "--allow-empty", "-m", f"whole\n\nMesh-Token: {NEW}")
    git(new, "push", "-q", f"--force-with-lease=task-7:{seen}", "origin", "task-7")
    seen = git(old, "rev-parse", "HEAD")
    git(old, "commit", "-q", "--amend", "--allow-empty", "-m", f"half again\n\nMesh-Token: {OLD}")
    git(old, "push", "-q", f"--force-with-lease=task-7:{seen}", "origin", "task-7", code=1)
    assert NEW in git(new, "log", "-1", "--format=%B", "origin/task-7")


# ---- HTTP: the server remembers the greatest token per thing


class Fenced(http.server.BaseHTTPRequestHandler):
    """Takes a PUT only with a token that is not less than the greatest it has seen."""

    greatest: dict[str, str] = {}  # noqa: RUF012  one server of one test

    def do_PUT(self) -> None:
        token = self.headers.get("Mesh-Token", "")
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if token < self.greatest.get(self.path, "") or not token:
            self.send_response(412)
        else:
            self.greatest[self.path] = token
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), Fenced) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def put(port: int, token: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("PUT", "/report", b"value", {"Mesh-Token": token})
        return connection.getresponse().status


def test_a_server_answers_412_to_a_lesser_token() -> None:
    with served() as port:
        assert [put(port, token) for token in (OLD, NEW, OLD, NEW, "")] == [
            204, 204, 412, 204, 412,
        ]  # fmt: skip


# ---- mesh fence: ask a node, or check offline


def test_fence_check_and_a_certificate_that_is_verified_offline(real_mesh: RealMesh) -> None:
    (node,) = real_mesh.start(1)
    environment = {**os.environ, "MESH_SOCKET": str(node.socket), "NO_COLOR": "1"}
    task = submit(node)
    held = claim(node, task)

    def check(token: str) -> int:
        done = run_mesh("fence", "check", task, token, environment=environment)
        assert done.returncode != 1, done.stderr
        return done.returncode

    assert check(held["token"]) == 0
    proof = run_mesh("fence", "certificate", task, environment=environment).stdout.strip()
    node.call("task.release", handle=held["handle"])
    newer = claim(node, task)
    second = run_mesh("fence", "certificate", task, environment=environment).stdout.strip()
    assert [check(token) for token in (held["token"], newer["token"], "f" * 90)] == [7, 0, 4]
    mesh_id = node.call("node.id")["mesh"]["id"]
    real_mesh.kill(node)
    offline = ("fence", "verify", "--mesh", mesh_id, proof)
    assert held["token"] in run_mesh(*offline).stdout
    assert run_mesh(*offline, "--task", task).returncode == 0
    assert run_mesh(*offline, "--greatest", newer["token"]).returncode == 7
    reasoned = run_mesh(*offline[:-1], second, "--greatest", held["token"], "--json")
    assert (reasoned.returncode, json.loads(reasoned.stdout)["whole"]) == (0, True)
    for wrong in ("7", newer["token"].upper(), newer["token"][:-1], ""):
        refused = run_mesh(*offline, "--greatest", wrong)
        assert refused.returncode == 2
        assert "is no token" in refused.stderr
    assert run_mesh(*offline, "--task", "1-1-" + "0" * 32).returncode == 5
    assert run_mesh("fence", "verify", "--mesh", "0" * 64, proof).returncode == 5
