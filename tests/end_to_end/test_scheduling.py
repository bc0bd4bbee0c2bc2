"""Order, limits and auctions between real nodes, through the command and the socket."""

import json
import threading
from base64 import b64decode

import pytest

from mesh.cli.demo import DemoNode, wait_for
from mesh.control.client import Client, Refused
from tests.end_to_end.processes import RealMesh, run_mesh, show, submit

BIDDERS = 10
WINDOW_S = 3.0
MANY = 20


def bid(node: DemoNode, score: int, outcomes: dict[int, str]) -> None:
    """Bid once, and note what came of it."""
    with Client.connect(str(node.socket)) as client:
        try:
            owned = client.call("task.claim", kinds=["bid"], score=score, wait_s=0.0)
        except Refused as refused:
            outcomes[score] = refused.name
        else:
            outcomes[score] = "owned"
            client.call("task.start", handle=owned["handle"])
            client.call("task.complete", handle=owned["handle"])


def test_m13_ten_bidders_and_one_winner(real_mesh: RealMesh, seeds: range) -> None:
    """M13: ten agents bid, with `--seeds 20` each on its own node; the highest wins everywhere."""
    nodes = real_mesh.start(BIDDERS if len(seeds) >= MANY else 3)
    task = submit(nodes[0], kind="bid", allocation="auction", bid_window_s=WINDOW_S)
    for node in nodes:
        wait_for("the task", lambda: node.call("task.list")["tasks"], 10)  # noqa: B023  called before the next turn
    outcomes: dict[int, str] = {}
    threads = [
        threading.Thread(target=bid, args=(nodes[number % len(nodes)], score, outcomes))
        for number, score in enumerate(7 * step % BIDDERS + 1 for step in range(BIDDERS))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WINDOW_S + 30)
    assert [score for score, outcome in outcomes.items() if outcome == "owned"] == [BIDDERS]
    assert len(outcomes) == BIDDERS
    for node in nodes:
        wait_for("the result", lambda: show(node, task)["state"] == "completed", 10)  # noqa: B023  called before the next turn
        assert show(node, task)["starts"] == 1
        assert show(node, task)["bids"][0]["score"] == BIDDERS


def mesh_json(node: DemoNode, *arguments: str) -> dict[str, object]:
    """Run the command against one node and return its document."""
    done = run_mesh("task", *arguments, "--json", "--socket", str(node.socket))
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_the_command_submits_a_line_of_tasks_and_results_are_handed_on(real_mesh: RealMesh) -> None:
    """M27: a child waits on another node for its parent, and its claimant reads the result."""
    first, second = real_mesh.start(2)
    parent = str(mesh_json(first, "submit", "parent", "--limit", "db=1", "--priority", "3")["task"])
    child = str(mesh_json(first, "submit", "child", "--after", parent, "--dedupe", "c=1h")["task"])
    again = mesh_json(first, "submit", "child", "--after", parent, "--dedupe", "c=1h")
    assert (again["task"], again["joined"], again["differs"]) == (child, True, False)
    wait_for("the child", lambda: len(second.call("task.list")["tasks"]) == 2, 10)
    shown = run_mesh("task", "show", child, "--socket", str(second.socket))
    assert f"task {parent} submitted" in shown.stdout
    with Client.connect(str(second.socket)) as client:
        owned = client.call("task.claim", task=parent, wait_s=10.0)
        client.call("task.complete", handle=owned["handle"], output="b25l")
        held = client.call("task.claim", task=child, wait_s=10.0)
        [result] = held["parents"]
        assert b64decode(result["result"]["output"]) == b"one"


def test_nonsense_is_refused_with_a_hint_and_the_node_goes_on(real_mesh: RealMesh) -> None:
    """Negative limits, missing parents, ten thousand of them, control characters in names."""
    [node] = real_mesh.start(1)
    task = submit(node)
    for wrong in (
        {"limit": ["db", -1]},
        {"limit": ["db", 0]},
        {"priority": -1},
        {"run_limit_s": -5.0},
        {"deadline": 1.0},
        {"after": ["1-1-" + "00" * 16]},
        {"after": [task] * 10_000},
        {"dedupe": "a\x1b[31m"},
        {"kind": "a\nb"},
        {"kind": "a\n"},
        {"requires": {"a": "b\n"}},
        {"requires": {"a\x00": "b"}},
        {"allocation": "whoever"},
    ):
        with Client.connect(str(node.socket)) as client, pytest.raises(Refused) as refused:
            client.call("task.submit", **{"kind": "job", **wrong})
        assert refused.value.hint, wrong
    assert len(node.call("task.list")["tasks"]) == 1
