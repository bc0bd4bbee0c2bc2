"""The agent behind `mesh work`: claims tasks and runs a command for each, several at a time.

Each of its slots waits for a task, claims it, runs the command, and says how it went. A claim that
is lost or canceled stops its command. A claim outlives a broken connection: it is taken up again
with its handle, unless the node stayed away so long that others may have the task by then.
"""

import os
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

import trio

from mesh.cli import freight, leaving
from mesh.cli.attachment import NODE_LOST_S, PASSING_REFUSALS, Attachment, AttachmentParts
from mesh.cli.bidding import Bidding
from mesh.cli.checkpoints import checkpoint_of
from mesh.cli.running import GIVE_BACK, Runs, error_of, said_last
from mesh.cli.values import in_base64
from mesh.control.blobs import INLINE_BYTES_MAX, WrongContent
from mesh.control.client import NodeUnreachable, Refused
from mesh.control.trio_client import TrioClient
from mesh.core.errors import LocalError
from mesh.daemon.runner import Ending, Finished

POLL_S = 30.0
REASON_MAX = 300
"""Of why a task was declined, in characters: it fits in any letters."""
ORPHAN_GRACE_S = 1.0
"""Without its node a command has this long to obey: others may soon take its task over."""
PAUSE_S = 1.0
"""After a refusal, and while commands fail or give back at once."""
PAUSE_HIGH_S = 60.0
CRASH_S = 1.0
CRASHES_FREE = 3
"""So many quick failures in a row are taken for bad luck."""
CRASH_DOUBLINGS_MAX = 6
DISK_FULL = ("not_durable", "blob_disk")
UNABLE = (*PASSING_REFUSALS, *DISK_FULL, "blob_busy")
"""What a node says that will take the same word later: what is done need not be done again."""
OVER = ("claim_lost", "unknown_handle")
NOTHING_TO_DO = ("no_task", "no_capacity", "timed_out", "claim_lost")


class Stop(StrEnum):
    """Why a command is stopped before its end."""

    LOST = "lost"
    NODE_LOST = "node lost"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """What `mesh work` was asked to do."""

    socket: str
    kinds: tuple[str, ...]
    command: tuple[str, ...]
    jobs: int
    name: str
    score: int | None = None
    """What to bid in auctions, without a program that looks at each."""


@dataclass(slots=True)
class Job:
    """One claimed task and its command."""

    task: str
    kind: str
    token: str
    handle: str
    payload: bytes
    blob: Mapping[str, Any] | None = None
    """What stands for the payload where that is large."""
    checkpoint: Mapping[str, Any] | None = None
    """What an earlier attempt has kept."""
    cancel: trio.Event = field(default_factory=trio.Event)
    hurry: trio.Event = field(default_factory=trio.Event)
    """Set: what is left of the grace is over."""
    stop: Stop | None = None
    reason: str = ""

    def end(self, stop: Stop, reason: str = "") -> None:
        """Have the command stopped; the first reason counts."""
        if self.stop is None:
            self.stop, self.reason = stop, reason
            self.cancel.set()


def job_of(claim: Mapping[str, Any]) -> Job:
    """Return the job that a claim's answer describes."""
    return Job(
        task=claim["task"],
        kind=claim["kind"],
        token=claim["token"],
        handle=claim["handle"],
        payload=b64decode(claim["payload"]),
        blob=claim.get("blob"),
        checkpoint=claim.get("checkpoint"),
    )


class Worker:
    """Runs a command once per task until it is told to stop."""

    def __init__(
        self,
        options: WorkOptions,
        runner: Runs,
        tell: Callable[[str], None],
        bidding: Bidding | None = None,
    ) -> None:
        self.jobs: dict[str, Job] = {}
        """Token -> job."""
        self._options = options
        self._runner = runner
        self._tell = tell
        self._bidding = bidding
        self._draining = False
        self._crashes = 0
        """Commands in a row that failed within `CRASH_S`."""
        self._told = ""
        self._idle = trio.Event()
        agent = {"name": options.name, "kinds": options.kinds, "capacity": options.jobs}
        self._attachment = Attachment(
            AttachmentParts(options.socket, agent, self._hear, self._resume)
        )

    async def run(self) -> Refused | None:
        """Work until `drain` was called and all is done; returns why the node refused the agent."""
        refused: list[Refused] = []
        async with trio.open_nursery() as nursery:

            async def attach() -> None:
                refused.append(await self._attachment.run())
                nursery.cancel_scope.cancel()

            nursery.start_soon(attach)
            nursery.start_soon(self._watch_node)
            if self._bidding is not None:
                nursery.start_soon(self._bidding.run, self._attachment.connected)
            for _ in range(self._options.jobs):
                nursery.start_soon(self._fill_slot)
            await self._idle.wait()
            nursery.cancel_scope.cancel()
        return refused[0] if refused else None

    def drain(self) -> None:
        """Claim nothing more, and end when the running commands have; again: stop them."""
        if self._draining:
            for job in self.jobs.values():
                job.end(Stop.STOPPING)
        self._draining = True
        self._check_idle()

    def _check_idle(self) -> None:
        if self._draining and not self.jobs:
            self._idle.set()

    # --- the node

    def _hear(self, event: Mapping[str, Any]) -> None:
        if event.get("topic") == "task.auction" and self._bidding is not None:
            if not self._draining:
                self._bidding.hear(event)
            return
        if event.get("topic") not in {"task.lost", "task.canceled"}:
            return
        for job in self.jobs.values():
            if job.token == event.get("token") or job.handle == event.get("handle"):
                job.end(Stop.LOST, str(event.get("reason", "")))

    async def _resume(self, client: TrioClient) -> None:
        async with trio.open_nursery() as nursery:
            for job in self.jobs.values():
                nursery.start_soon(self._resume_job, client, job)

    async def _resume_job(self, client: TrioClient, job: Job) -> None:
        try:
            await client.call("task.resume", handle=job.handle)
        except NodeUnreachable:
            pass  # the next connection tries again
        except Refused as refused:
            if refused.name in PASSING_REFUSALS:
                client.close()
            else:
                job.end(Stop.LOST, refused.name)

    async def _watch_node(self) -> None:
        """Stop all commands once the node is gone for too long."""
        while True:
            await self._attachment.up.wait()
            await self._attachment.down.wait()
            with trio.move_on_at(self._attachment.heard_at + NODE_LOST_S):
                await self._attachment.up.wait()
                continue
            self._say_once(f"the node is gone for {NODE_LOST_S:g} s")
            orphans = list(self.jobs.values())
            for job in orphans:
                job.end(Stop.NODE_LOST)
            await trio.sleep(ORPHAN_GRACE_S)
            for job in orphans:
                job.hurry.set()

    # --- one slot

    async def _fill_slot(self) -> None:
        while not self._draining:
            claim = await self._next_claim()
            if claim is None:
                continue
            job = self.jobs[claim["token"]] = job_of(claim)
            try:
                pauses = await self._work(job)
            finally:
                del self.jobs[job.token]
                self._check_idle()
            if pauses:
                await trio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        """Return how long to pause: ever longer while one command after the other fails at once."""
        over = max(0, self._crashes - CRASHES_FREE)
        return min(PAUSE_HIGH_S, PAUSE_S * (1 << min(over, CRASH_DOUBLINGS_MAX)))

    async def _next_claim(self) -> dict[str, Any] | None:
        client = await self._attachment.connected()
        wanted: dict[str, Any] = {"kinds": list(self._options.kinds), "wait_s": POLL_S}
        wanted["agent"] = self._options.name
        if self._bidding is not None:
            wanted["by_task"] = True
        elif self._options.score is not None:
            wanted["score"] = self._options.score
        try:
            claim: dict[str, Any] = await client.request("task.claim", wanted)
        except NodeUnreachable:
            await trio.lowlevel.checkpoint()
            return None
        except Refused as refused:
            if refused.name not in NOTHING_TO_DO:
                self._say_once(f"no claim: {refused}")
            if refused.name != "no_task":
                await trio.sleep(PAUSE_S)
            return None
        return claim

    async def _work(self, job: Job) -> bool:
        """Do one job from start to end; returns whether to pause before the next."""
        if self._draining:
            await self._write_kindly(job, "task.release")
            return False
        begun = trio.current_time()
        try:
            await self._write(job, "task.start")
            blob = job.blob
            if blob is not None:
                job.payload = await self._insist("blob.get", lambda c: freight.get(c, blob))
            if job.stop is None:
                finished = await self._run(job)
            else:
                finished = Finished(Ending.CANCELED, 0, b"", b"")
            return await self._report(job, finished, trio.current_time() - begun)
        except (LocalError, WrongContent) as failed:
            # The command itself cannot be run here; elsewhere it may.
            self._tell_job(job, "declined", str(failed))
            await self._write_kindly(job, "task.decline", reason=str(failed)[:REASON_MAX])
            return True
        except Refused as refused:
            self._tell_job(job, "lost", str(refused))
            if refused.name not in OVER:
                # The node believes that it is being worked on, and would do so for ever.
                await self._write_kindly(job, "task.decline", reason=str(refused)[:REASON_MAX])
        except NodeUnreachable as unreachable:
            self._tell_job(job, "lost", str(unreachable))
        return False

    async def _run(self, job: Job) -> Finished:
        """Run the command, and tell the mesh of its checkpoints."""

        async def report(data: bytes) -> bool:
            return await self._keep(job, data)

        checkpoint = checkpoint_of(await self._kept(job))
        environment = self._environment(job) | {"MESH_CHECKPOINT": str(checkpoint.path)}
        ended: list[Finished | LocalError] = []
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(checkpoint.follow, report)
                try:
                    ended.append(
                        await self._runner.run(
                            self._options.command, job.payload, environment, job.cancel, job.hurry
                        )
                    )
                except LocalError as failed:
                    ended.append(failed)
                nursery.cancel_scope.cancel()
            await checkpoint.tell(report)
        finally:
            checkpoint.close()
        if isinstance(ended[0], LocalError):
            raise ended[0]
        return ended[0]

    async def _kept(self, job: Job) -> bytes:
        """Return what an earlier attempt has kept; nothing if that is nowhere to be had."""
        while True:
            try:
                return await leaving.kept_by(await self._attachment.connected(), job.checkpoint)
            except (Refused, WrongContent) as gone:
                if isinstance(gone, WrongContent) or gone.name not in PASSING_REFUSALS:
                    self._tell_job(job, "anew", f"its checkpoint cannot be had: {gone}")
                    return b""
            await trio.sleep(PAUSE_S)

    async def _keep(self, job: Job, data: bytes) -> bool:
        """Tell the mesh a checkpoint; returns false when it is to be tried again."""
        with trio.move_on_after(NODE_LOST_S):
            try:
                await self._write(job, "task.progress", **leaving.packed(data))
            except NodeUnreachable:
                return False
            except Refused as refused:
                if refused.name in UNABLE:
                    return False
                if job.stop is None:
                    self._tell_job(job, "not kept", f"{refused}; {refused.hint}")
            return True
        return False

    async def _report(self, job: Job, finished: Finished, took_s: float) -> bool:
        """Say how a command ended, to the node and on stderr; returns whether to pause."""
        took = f"{took_s:.1f} s"
        if finished.ending is Ending.CANCELED and job.stop is not None:
            self._tell_job(job, "stopped", f"{job.stop} {job.reason}".strip())
            if job.stop is not Stop.LOST:
                await self._write_kindly(job, "task.release")
            return False
        if finished.ending is Ending.EXITED and finished.exit_code == 0:
            self._crashes = 0
            await self._complete(job, finished.stdout, took)
            return False
        # A command that does so as soon as it is started would go through one task after the other.
        self._crashes = self._crashes + 1 if took_s < CRASH_S else 0
        if finished.ending is Ending.EXITED and finished.exit_code == GIVE_BACK:
            why = said_last(finished)
            # Not a release: this agent would get the task again at once, and never the next one.
            await self._write(job, "task.decline", reason=why[:REASON_MAX])
            self._tell_job(job, "declined", f"{took}: {why}" if why else took)
        else:
            await self._fail(job, error_of(finished), took)
        return self._crashes >= CRASHES_FREE

    async def _complete(self, job: Job, output: bytes, took: str) -> None:
        try:
            carried = {"output": in_base64(output)}
            if len(output) > INLINE_BYTES_MAX:
                digest = await self._insist("blob.put", lambda client: freight.put(client, output))
                carried = {"blob": digest}
            answer = await self._write(job, "task.complete", **carried)
        except Refused as refused:
            if refused.name not in {"payload_too_large", "blob_too_large", "blob_quota"}:
                raise
            await self._fail(job, f"{refused}; {refused.hint}", took)
            return
        self._tell_job(job, "completed", f"{took}, copies {answer.get('copies', 1)}")

    async def _fail(self, job: Job, error: str, took: str) -> None:
        await self._write(job, "task.fail", error=error)
        self._tell_job(job, "failed", f"{took}: {error.strip().splitlines()[-1]}")

    async def _write(self, job: Job, method: str, **more: str) -> dict[str, Any]:
        """Ask until the node answers; the request id makes a repetition harmless."""
        parameters = {"handle": job.handle, **more}
        if method != "task.start":
            parameters["request_id"] = uuid4().hex
        answer: dict[str, Any] = await self._insist(
            method, lambda client: client.request(method, parameters)
        )
        return answer

    async def _insist(self, what: str, ask: Callable[[TrioClient], Awaitable[Any]]) -> Any:  # noqa: ANN401  JSON
        """Ask until the node answers, for ever if need be, but while draining not for long."""
        begun = trio.current_time()
        while True:
            client = await self._patiently(self._attachment.connected)
            try:
                return await ask(client)
            except NodeUnreachable:
                await trio.lowlevel.checkpoint()
            except Refused as refused:
                is_late = self._draining and trio.current_time() - begun > NODE_LOST_S
                if refused.name not in UNABLE or (is_late and refused.name in DISK_FULL):
                    raise
                if refused.name in DISK_FULL:
                    self._say_once(f"{what}: {refused}; {refused.hint}")
                await trio.sleep(PAUSE_S)

    async def _write_kindly(self, job: Job, method: str, **more: str) -> None:
        """Ask for what is good to have: without it the node finds out by itself."""
        with trio.move_on_after(NODE_LOST_S):
            try:
                await self._write(job, method, **more)
            except (Refused, NodeUnreachable):
                return

    async def _patiently(self, wait: Callable[[], Awaitable[TrioClient]]) -> TrioClient:
        """Wait for the node for ever, but while draining not for long."""
        while True:
            with trio.move_on_after(NODE_LOST_S):
                return await wait()
            if self._draining:
                raise NodeUnreachable(self._options.socket, "it did not come back")

    # --- talk

    def _environment(self, job: Job) -> dict[str, str]:
        return {
            **os.environ,
            "MESH_TASK_ID": job.task,
            "MESH_TASK_KIND": job.kind,
            "MESH_TASK_TOKEN": job.token,
            "MESH_TASK_HANDLE": job.handle,
            "MESH_SOCKET": self._options.socket,
        }

    def _tell_job(self, job: Job, what: str, details: str) -> None:
        self._told = ""
        self._tell(f"{what:9}  {job.kind}  {job.task}  {details}")

    def _say_once(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)
