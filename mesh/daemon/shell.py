"""The shell around a node: writer, sockets, resolver and pump, started and stopped in order."""

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from mesh.core.effects import Effect
from mesh.core.identity import Address
from mesh.core.inputs import Input
from mesh.core.params import Params
from mesh.daemon.blob_files import BlobFiles
from mesh.daemon.clock import Clock, SystemClock
from mesh.daemon.inbox import CAPACITY, Inbox
from mesh.daemon.performer import Answers, NoAnswers, Performer
from mesh.daemon.pump import Driven, Pump, Surroundings
from mesh.daemon.readiness import Readiness
from mesh.daemon.resolver import Resolver
from mesh.daemon.sockets import Sockets
from mesh.daemon.streams import StreamBounds, Streams
from mesh.daemon.udp import UdpPort
from mesh.storage.log import Log
from mesh.storage.writer import Writer, WriterBounds

FLUSH_S = 1.0
"""Streams that the node has closed may flush for so long at the end."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait, and where."""

    inbox: int = CAPACITY
    writer: WriterBounds = field(default_factory=WriterBounds)
    streams: StreamBounds = field(default_factory=StreamBounds)


@dataclass(slots=True)
class Plan:
    """What a shell is built from: an open log, bound sockets, numbers, and who answers clients."""

    log: Log
    sockets: Sockets
    params: Params
    answers: Answers = field(default_factory=NoAnswers)
    clock: Clock = field(default_factory=SystemClock)
    readiness: Readiness | None = None
    bounds: Bounds = field(default_factory=Bounds)
    blobs: Path | None = None
    """The directory of blobs; None: there is no place for them."""


class Shell:
    """Everything between one node and this machine; enter it, then `run` it, once.

    It takes over the log and the sockets of its plan, and closes them when it is left.
    """

    def __init__(self, node: Driven, plan: Plan) -> None:
        """Must be called inside a Trio run."""
        self._plan = plan
        clock, bounds = plan.clock, plan.bounds
        self.hint = ""
        """What to do about it, when the node has stopped for a reason of its own."""
        self.again = False
        """Whether the node wants to be started anew."""
        self._token = trio.lowlevel.current_trio_token()
        self._inbox = Inbox(lambda: clock.now().instant, bounds.inbox)
        self._writer = Writer(plan.log, self._wake_from_thread, bounds.writer)
        self._udp = UdpPort(plan.sockets.udp, self._inbox, self._arrived)
        self._streams = Streams(plan.sockets.listener, self._inbox, bounds.streams)
        self._blobs = BlobFiles(plan.blobs, self._inbox.notice)
        self._resolver = Resolver(plan.sockets.udp.family, self._inbox)
        readiness = plan.readiness or Readiness({}, lambda: clock.now().instant)
        self._pump = Pump(
            node,
            Surroundings(
                inbox=self._inbox,
                clock=clock,
                perform=self._perform,
                poll=self._udp.drain,
                outcomes=self._writer.take_outcomes,
                watchdog=readiness.feed_watchdog,
            ),
            plan.params.membership,
        )
        self._performer = Performer(
            self._udp,
            self._streams,
            self._resolver,
            self._writer,
            self._blobs,
            plan.answers,
            self._halt,
        )

    @property
    def address(self) -> Address:
        """Where the sockets are bound."""
        return self._plan.sockets.address

    def attach(self, answers: Answers) -> None:
        """Let these talk to control clients from now on."""
        self._performer.answers = answers

    async def put(self, each: Input) -> None:
        """Hand in a client's input, waiting while the inbox is full."""
        await self._inbox.put(each)

    def notice(self, each: Input) -> None:
        """Hand in an input that must not wait or get lost, such as `ClientGone`."""
        self._inbox.notice(each)

    def stop(self, reason: str = "stopped", hint: str = "") -> None:
        """End `run` after the present turn: nothing is said to peers; for that the node leaves.

        A hint says that the node did not stop as it was asked to, and what to do about it.
        """
        self.hint = self.hint or hint
        self._pump.stop(reason)

    def _halt(self, reason: str, hint: str, again: bool) -> None:
        self.again = again
        self.stop(reason, hint)

    def counters(self) -> dict[str, int]:
        """Return figures of sockets, log and loop, for status."""
        return {
            **self._udp.counters,
            **self._streams.counters,
            **self._resolver.counters,
            **self._writer.counters(),
            "inbox_waiting": len(self._inbox),
            "loop_lag_max_us": int(self._pump.lag_max_s * 1e6),
        }

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> str:
        """Drive the node until it halts or `stop` is called; returns the reason.

        Started as a task it reports once the node's first effects are under way.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._streams.run)
            nursery.start_soon(self._udp.run)
            nursery.start_soon(self._resolver.run)
            nursery.start_soon(self._blobs.run)
            reason = await self._pump.run(task_status)
            await self._finish()
            nursery.cancel_scope.cancel()
        return reason

    async def _finish(self) -> None:
        """Make the last commits durable and let the last answers and bytes out."""
        await trio.to_thread.run_sync(self._writer.close)
        self._pump.handle_outcomes()
        await self._streams.flush(FLUSH_S)

    def _perform(self, effect: Effect) -> None:
        self._performer.perform(effect)

    def _arrived(self) -> None:
        self._pump.turn()

    def _written(self) -> None:
        self._pump.turn_in_callback()

    def _wake_from_thread(self) -> None:
        try:
            self._token.run_sync_soon(self._written, idempotent=True)
        except trio.RunFinishedError:
            # The loop has ended without waiting for the writer: nobody is left to be told.
            return

    async def __aenter__(self) -> Self:
        self._writer.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._writer.close)
        self._plan.sockets.close()
        self._plan.log.close()
