"""A disk that is full or fails: nothing is promised meanwhile, and it goes on by itself after."""

import contextlib
import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mesh.cli.demo import wait_for
from mesh.control import blobs
from mesh.control.client import Client, NodeUnreachable, Refused
from tests.end_to_end.processes import START_LIMIT_S, claim, encoded, show, submit
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.machine import (
    HostMesh,
    HostNode,
    Lookout,
    host_mesh,
    mounted,
    run,
    seconds_until,
    task_states,
)

MEBIBYTE = 1024 * 1024
TMPFS_BYTES = 4 * MEBIBYTE
RESULT_LIMIT_S = 30.0
FIRST_REFUSAL_LIMIT_S = 20.0
RECOVERY_LIMIT_S = 5.0
KIND = "keep"
SHIM = Path(__file__).with_name("failing_disk.c")


@dataclass
class Ledger:
    """What a client was told while the disk failed."""

    node: HostNode
    acknowledged: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    unclear: int = 0
    """Answers that say neither yes nor why not and what to do."""
    tries: int = 0

    def submit(self) -> bool:
        """Try one submit; returns whether it was acknowledged."""
        self.tries += 1
        try:
            with Client.connect(str(self.node.socket), timeout_s=5.0) as client:
                payload = encoded(f"{self.tries:6}" * 80)
                self.acknowledged.append(
                    client.call("task.submit", kind=KIND, payload=payload)["task"]
                )
        except Refused as refused:
            self.refusals[refused.name] += 1
            self.unclear += not (refused.message and refused.hint)
            return False
        except NodeUnreachable:
            self.unclear += 1
            return False
        return True


@dataclass(frozen=True, slots=True)
class Disk:
    """A node's disk, and how to break and mend it."""

    fail: Callable[[], None]
    mend: Callable[[], None]


def withstand(mesh: HostMesh, node: HostNode, disk: Disk, scale: Scale) -> Outcome:
    """Break a node's disk and mend it, asking for durable things all the while."""
    other = mesh.host(0)
    ledger = Ledger(node)
    ledger.submit()
    with Client.connect(str(node.socket)) as worker:
        begun = worker.call("task.claim", task=ledger.acknowledged[0])
        worker.call("task.start", handle=begun["handle"])
        with Lookout([other], [node]) as watch:
            disk.fail()
            try:
                wait_for("a refusal", lambda: not ledger.submit(), FIRST_REFUSAL_LIMIT_S)
                end = time.monotonic() + (0.3 if scale is Scale.QUICK else 60.0)
                while time.monotonic() < end:
                    ledger.submit()
                    time.sleep(0.02)
                refused = _completion_is_refused(worker, begun["handle"])
            finally:
                disk.mend()
            recovered_s = seconds_until(ledger.submit, RECOVERY_LIMIT_S * 2, "a submit")
        worker.call("task.complete", handle=begun["handle"], output="b2s=")
    mesh.kill(node)
    mesh.restart(node)
    mesh.together(mesh.nodes)
    own, everywhere = task_states(node), {**task_states(node), **task_states(other)}
    to_do = {task for task, state in everywhere.items() if state != "canceled"}
    return Outcome(
        (
            Figure("refused", ledger.refusals.total(), at_least=1),
            Figure("refused without reason and hint", ledger.unclear, at_most=0),
            Figure("completion refused", refused, at_least=1),
            Figure("acknowledged", len(ledger.acknowledged)),
            Figure("lost", sum(task not in own for task in ledger.acknowledged), at_most=0),
            Figure("refused, yet to be done", len(to_do - {*ledger.acknowledged}), at_most=0),
            watch.figure("seen down"),
            Figure("looks at the node", watch.looks, at_least=1),
            Figure("accepted again after", recovered_s, "s", at_most=RECOVERY_LIMIT_S),
            Figure("its work finished then", _is_completed(other, begun["task"]), at_least=1),
        ),
        f"refused as {', '.join(sorted(ledger.refusals))}",
    )


def _completion_is_refused(worker: Client, handle: str) -> bool:
    try:
        worker.call("task.complete", handle=handle, output="b2s=")
    except Refused as refused:
        return refused.name == "not_durable"
    return False


def _is_completed(node: HostNode, task: str) -> bool:
    return bool(show(node, task)["state"] == "completed")


def fill(ballast: Path) -> None:
    """Take all room that a file can take."""
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()


def result_disk_full(scale: Scale) -> Outcome:
    """Let a large result come to a submitter whose disk has no room for it, and restart it."""
    size = (3 if scale is Scale.QUICK else 64) * MEBIBYTE
    result = hashlib.shake_128(b"result").digest(size)
    digest = blobs.digest_of(result)
    with host_mesh(1) as mesh:
        owner, node = mesh.host(0), mesh.node(mesh.nodes[0])
        place = node.data / "blobs"
        for folder in (node.folder, node.data, place):
            folder.mkdir(mode=0o700)
        ballast = place / "ballast"
        with mounted("-t", "tmpfs", "-o", f"size={size + MEBIBYTE}", "tmpfs", at=place):
            try:
                node.start_node()
                wait_for("the node", node.is_up, START_LIMIT_S)
                mesh.together(mesh.nodes)
                fill(ballast)
                task = submit(node, KIND)
                _complete(owner, task, result)
                wait_for("a failure", lambda: _disk_errors(node) > 0, FIRST_REFUSAL_LIMIT_S)
                other = submit(node, KIND)
                if scale is Scale.FULL:
                    mesh.kill(node)
                    mesh.restart(node)
                    wait_for("one more", lambda: _disk_errors(node) > 0, FIRST_REFUSAL_LIMIT_S)
                state = show(node, task)["state"]
                early = _is_stored(node, digest)
                ballast.unlink()
                recovered_s = seconds_until(
                    lambda: _is_stored(node, digest), RESULT_LIMIT_S * 2, "the result"
                )
                with Client.connect(str(node.socket)) as client:
                    content = b"".join(blobs.get(client, digest, size))
                return Outcome(
                    (
                        Figure("bytes of the result", size),
                        Figure("taken for whole without room", early, at_most=0),
                        Figure("known as completed", state == "completed", at_least=1),
                        Figure("small tasks still taken", _is_known(owner, other), at_least=1),
                        Figure("fetched by itself after", recovered_s, "s", at_most=RESULT_LIMIT_S),
                        Figure("right", content == result, at_least=1),
                        Figure("kept by its owner", _is_stored(owner, digest), at_least=1),
                    )
                )
            finally:
                mesh.destroy()


def _complete(owner: HostNode, task: str, result: bytes) -> None:
    wait_for("the task", lambda: _is_known(owner, task), START_LIMIT_S)
    handle = claim(owner, task)["handle"]
    with Client.connect(str(owner.socket)) as client:
        blobs.put(client, result)
        client.call("task.complete", handle=handle, blob=blobs.digest_of(result))


def _disk_errors(node: HostNode) -> int:
    return node.counters().get("blob_disk_errors", 0)


def _is_known(node: HostNode, task: str) -> bool:
    return task in task_states(node)


def _is_stored(node: HostNode, digest: str) -> bool:
    views = node.call("blob.list")["blobs"]
    return any(view["digest"] == digest and view["complete"] for view in views)


def disk_full(scale: Scale) -> Outcome:
    """Fill the disk under a node."""
    with host_mesh(1) as mesh:
        node = mesh.node(mesh.nodes[0])
        ballast = node.data / "ballast"
        with mounted("-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", at=node.data):
            try:
                node.start_node()
                wait_for("the node", node.is_up, START_LIMIT_S)
                mesh.together(mesh.nodes)
                return withstand(mesh, node, Disk(lambda: fill(ballast), ballast.unlink), scale)
            finally:
                mesh.destroy()


def compiled_shim(folder: Path) -> Path:
    """Return the library that makes a disk fail, compiled for this machine."""
    library = folder / "failing_disk.so"
    compiler = shutil.which("gcc") or "cc"
    run(compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl")
    return library


@contextlib.contextmanager
def _failing(mesh: HostMesh) -> Iterator[tuple[HostNode, Path]]:
    switch = mesh.folder / "failing"
    environment = {
        "LD_PRELOAD": str(compiled_shim(mesh.folder)),
        "MESH_FAILING_DISK": str(switch),
    }
    node = mesh.join(environment)
    mesh.together(mesh.nodes)
    yield node, switch


def disk_errors(scale: Scale) -> Outcome:
    """Let writes fail, then syncs: the worse of both is the outcome."""
    outcomes = []
    for operation in ("write", "sync"):
        with host_mesh(1) as mesh, _failing(mesh) as (node, switch):
            disk = Disk(lambda: _say(switch, operation), switch.unlink)  # noqa: B023  called in here
            outcomes.append((operation, withstand(mesh, node, disk, scale)))
    return Outcome(
        tuple(
            Figure(f"{operation}: {f.name}", f.value, f.unit, f.at_most, f.at_least)
            for operation, outcome in outcomes
            for f in outcome.figures
        ),
        outcomes[-1][1].note,
    )


def _say(switch: Path, operation: str) -> None:
    draft = switch.with_suffix(".new")
    draft.write_text(operation)
    draft.replace(switch)


FAULTS = (
    Fault(
        name="disk-full",
        does="the disk under one node of two fills up, for a minute in the full form",
        criterion="submits refused with a clear error, never a false ack; membership goes on; "
        "recovers alone",
        run=disk_full,
        needs=(Need.MOUNTS,),
        in_quick_run=True,
    ),
    Fault(
        name="result-disk-full",
        does="no room for a result at its submitter; 64 MiB and a kill -9 in the full form",
        criterion="it stays at its owner, and comes by itself once there is room",
        run=result_disk_full,
        needs=(Need.MOUNTS,),
        in_quick_run=True,
    ),
    Fault(
        name="disk-errors",
        does="writes of one node fail with EIO, then, on another mesh, its syncs do",
        criterion="as for a full disk",
        run=disk_errors,
        needs=(Need.COMPILER,),
    ),
)
