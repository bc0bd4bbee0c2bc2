"""Auctions between real nodes whose winners are killed, and what a worker bids in them."""

import signal
import subprocess
import threading
from pathlib import Path

from mesh.cli.demo import DemoNode, wait_for
from mesh.control.client import Client, NodeUnreachable, Refused
from tests.end_to_end.processes import RealMesh, show, submit
from tests.end_to_end.test_workers import WORK, employ

BIDDERS = 10
MANY = 20
GRACE_S = 0.5
HIGHEST, SECOND, THIRD = 10, 9, 8
ONCE_ALONE = """
for pid in $(cat log 2>/dev/null); do kill -0 "$pid" 2>/dev/null && echo "$pid" >>together; done
echo $$ >>log
[ "$(wc -l <log)" = 1 ] && exec sleep 1000
echo done by "$MESH_NAME"
"""
"""Notes whoever runs at the same time; the first run does not come to its end by itself."""


def bid_and_hold(node: DemoNode, score: int) -> None:
    """An agent that goes on bidding until its node or the test ends, and never comes to work."""
    try:
        with Client.connect(str(node.socket)) as client:
            client.call("agent.attach", name=f"bids-{score}", kinds=["bid"])
            while True:
                client.call("task.claim", kinds=["bid"], score=score, wait_s=600.0)
    except (Refused, NodeUnreachable):
        return


def kill_machine(mesh: RealMesh, node: DemoNode) -> None:
    """Kill -9 a node and its worker at once, as when the power fails."""
    assert node.worker is not None
    node.worker.send_signal(signal.SIGKILL)
    mesh.kill(node)
    node.worker.wait()


def bidding(node: DemoNode, folder: Path, *arguments: str) -> None:
    """Let `mesh work` bid at a node."""
    script = f"cd {folder}; MESH_NAME={node.name}; {ONCE_ALONE}"
    employ(node, *WORK, "--kind", "bid", *arguments, "--", "sh", "-c", script)


def owner_is(node: DemoNode, task: str, name: str) -> bool:
    owner = show(node, task)["owner"]
    return owner is not None and owner["name"] == name


def test_m13_a_dead_winner_is_replaced_by_the_next_and_one_runs_at_a_time(
    real_mesh: RealMesh, folder: Path, seeds: range
) -> None:
    """M13: kill -9 between winning and starting, then amid the work; `--seeds 20`: ten nodes."""
    nodes = real_mesh.start(BIDDERS if len(seeds) >= MANY else 4)
    first, idler, worker, heir = nodes[:4]
    (folder / "score.sh").write_text(f'grep -q \'"text": "heavy"\' && echo {THIRD}')
    bidding(worker, folder, "--score", str(SECOND))
    bidding(heir, folder, "--score-command", f"sh {folder}/score.sh")
    others = [node for node in nodes if node not in (idler, worker)]
    for score in range(1, THIRD):
        place = others[score % len(others)]
        threading.Thread(target=bid_and_hold, args=(place, score), daemon=True).start()
    for node in (worker, heir):
        wait_for("agents", lambda: node.call("node.status")["counters"]["waiting"], 10)  # noqa: B023  called before the next turn
    task = submit(
        first, "bid", "heavy", allocation="auction", bid_window_s=2.0, orphan_grace_s=GRACE_S
    )
    with Client.connect(str(idler.socket)) as client:
        won = client.call("task.claim", kinds=["bid"], score=HIGHEST, wait_s=20.0)
        assert won["task"] == task
        real_mesh.kill(idler)
    wait_for("the second", (folder / "log").exists, 30)
    wait_for("its owner to be seen", lambda: owner_is(heir, task, worker.name), 5)
    kill_machine(real_mesh, worker)
    wait_for("the third", lambda: show(first, task)["state"] == "completed", 30)
    shown = show(first, task)
    assert (shown["epoch"], shown["starts"], shown["result"]["name"]) == (3, 2, heir.name)
    assert shown["bids"][0]["score"] == THIRD
    assert len((folder / "log").read_text().split()) == 2
    assert not (folder / "together").exists()


def test_a_score_command_that_fails_is_no_bid_and_says_so_once(
    real_mesh: RealMesh, folder: Path
) -> None:
    [node] = real_mesh.start(1)
    script = folder / "score.sh"
    script.write_text("sleep 1000")
    log = folder / "work.log"
    with log.open("wb") as told:
        employ(
            node,
            *WORK,
            *("--kind", "bid", "--score-command", f"sh {script}", "--", "sh", "-c", "printf fine"),
            stderr=told,
        )
    wait_for("the agent", lambda: node.call("node.status")["counters"]["waiting"], 10)
    slow = [submit(node, "bid", allocation="auction", bid_window_s=0.25) for _ in range(3)]
    wait_for("the complaint", lambda: b"no bid: sh: it took longer" in log.read_bytes(), 10)
    script.write_text('[ "$MESH_TASK_KIND" = bid ] && echo 7')
    task = submit(node, "bid", allocation="auction", bid_window_s=0.5)
    wait_for("the result", lambda: show(node, task)["state"] == "completed", 10)
    assert [bid["score"] for bid in show(node, task)["bids"]] == [7]
    assert {show(node, each)["state"] for each in slow} == {"submitted"}
    assert log.read_bytes().count(b"no bid") == 1


def test_a_score_is_checked_when_work_begins() -> None:
    for wrong in (["--score", "65536"], ["--score", "-1"], ["--score-command", "'"]):
        done = subprocess.run(
            [*WORK, "--kind", "bid", *wrong, "--", "true"], capture_output=True, check=False
        )
        assert done.returncode == 2
        assert b"mesh work" in done.stderr
