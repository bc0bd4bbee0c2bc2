"""What an agent bids in auctions when a program looks at each task: `mesh work --score-command`.

The node asks for a bid with an event; the program is given the task as a line of JSON and prints a
score. It has four fifths of the bid window for that, so that the bid can still count. Whatever else
happens is no bid: the task goes to others, or the node asks again half a minute later.
"""

import json
import os
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from mesh.cli.running import GIVE_BACK, Runs, error_of
from mesh.cli.values import SCORE_MAX
from mesh.control.client import NodeUnreachable, Refused
from mesh.control.trio_client import TrioClient
from mesh.core.errors import LocalError
from mesh.daemon.runner import Ending, Finished

SCORERS = 4
"""Programs that look at tasks at a time."""
WAITING_MAX = 256
WINDOW_SHARE = 0.8
SHOWN_MAX = 40

Heard = tuple[float, Mapping[str, Any]]
Connected = Callable[[], Awaitable[TrioClient]]


class NoScore(Exception):  # noqa: N818  it says what happened
    """A program has said no score; the text says what it did instead."""


class Bidding:
    """Asks a program what to bid, for several tasks at a time."""

    def __init__(
        self, command: tuple[str, ...], socket: str, runner: Runs, tell: Callable[[str], None]
    ) -> None:
        self._command = command
        self._socket = socket
        self._runner = runner
        self._tell = tell
        self._said = ""
        self._heard, self._waiting = trio.open_memory_channel[Heard](WAITING_MAX)

    def hear(self, event: Mapping[str, Any]) -> None:
        """The node asks for a bid."""
        try:
            self._heard.send_nowait((trio.current_time(), event))
        except trio.WouldBlock:
            self._fail(f"over {WAITING_MAX} auctions at a time")

    async def run(self, connected: Connected) -> None:
        """Bid until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(SCORERS):
                nursery.start_soon(self._serve, connected)

    async def _serve(self, connected: Connected) -> None:
        async for heard_at, event in self._waiting:
            try:
                score = await self._score(event, heard_at + WINDOW_SHARE * event["window_s"])
            except NoScore as failed:
                self._fail(str(failed))
                continue
            self._said = ""
            if score is not None:
                await self._bid(connected, event["task"], score)

    async def _bid(self, connected: Connected, task: str, score: int) -> None:
        try:
            client = await connected()
            await client.call("task.bid", task=task, score=score)
        except (NodeUnreachable, Refused):
            return  # the task is over, or a new connection will be asked again

    async def _score(self, event: Mapping[str, Any], deadline: float) -> int | None:
        """Return what the program says, None if it does not want to bid; raises NoScore."""
        environment = {
            **os.environ,
            "MESH_TASK_ID": event["task"],
            "MESH_TASK_KIND": event["kind"],
            "MESH_SOCKET": self._socket,
        }
        with trio.move_on_at(deadline):
            try:
                finished = await self._runner.run(
                    self._command, task_line(event), environment, trio.Event(), trio.Event()
                )
            except LocalError as failed:
                raise NoScore(str(failed)) from None
            return score_of(finished)
        share_s = WINDOW_SHARE * event["window_s"]
        raise NoScore(f"it took longer than {share_s:g} s, which is all that the bid window leaves")

    def _fail(self, text: str) -> None:
        """Say why there is no bid, once until something else happens."""
        if text != self._said:
            self._said = text
            self._tell(f"no bid: {self._command[0]}: {text}")


def task_line(event: Mapping[str, Any]) -> bytes:
    """Return the line that tells a program of a task, as `--stream` does it."""
    payload = b64decode(event["payload"])
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = None
    names = ("task", "kind", "payload", "blob", "prefers", "window_s", "created_at")
    return json.dumps({"text": text} | {name: event[name] for name in names}).encode() + b"\n"


def score_of(finished: Finished) -> int | None:
    """Return the score that a program has printed, None if it gives the task back unseen."""
    if finished.ending is Ending.EXITED and finished.exit_code == GIVE_BACK:
        return None
    if finished.ending is not Ending.EXITED or finished.exit_code != 0:
        raise NoScore(error_of(finished).splitlines()[-1])
    said = finished.stdout.strip()
    if not said.isdigit() or len(said) > len(str(SCORE_MAX)) or int(said) > SCORE_MAX:
        shown = said[:SHOWN_MAX].decode(errors="replace")
        raise NoScore(f"{shown!r} is no score, which is a whole number from 0 to {SCORE_MAX}")
    return int(said)
