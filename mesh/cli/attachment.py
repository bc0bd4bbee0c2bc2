"""An agent's connection to its node, made again whenever it breaks.

The node may be restarted, hang, or be stopped with its whole machine. A connection that says
nothing for `NODE_LOST_S` is as good as none, so the node is asked for a sign of life every second.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from mesh.control.client import NodeUnreachable, Refused
from mesh.control.trio_client import Listen, TrioClient

NODE_LOST_S = 4.0
"""Always less than detection and orphan grace: then others may take the work over."""
PULSE_S = 1.0
RETRY_S = 0.25
PASSING_REFUSALS = ("not_joined", "leaving", "busy", "too_many_clients")
"""What a node says while it starts, stops or has too much to do."""

Resume = Callable[[TrioClient], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AttachmentParts:
    """Which node, as what, and what to do with it."""

    path: str
    agent: Mapping[str, Any]
    """The fields of `agent.attach`."""
    listen: Listen
    resume: Resume
    """Takes the claims in hand up again on a new connection."""


class Attachment:
    """Keeps an agent attached; `up` is set while it is, `down` while it is not."""

    def __init__(self, parts: AttachmentParts) -> None:
        self.up = trio.Event()
        self.down = trio.Event()
        self.down.set()
        self.heard_at = trio.current_time()
        """When the node last gave a sign of life."""
        self._parts = parts
        self._client: TrioClient | None = None

    async def run(self) -> Refused:
        """Stay attached until cancelled; returns only if the node will never have this agent."""
        while True:
            failure = await self._attach_once()
            if isinstance(failure, Refused) and failure.name not in PASSING_REFUSALS:
                return failure
            await trio.sleep(RETRY_S)

    async def connected(self) -> TrioClient:
        """Return the connection once there is one."""
        while self._client is None:
            await self.up.wait()
        return self._client

    async def _attach_once(self) -> Exception | None:
        """Attach, and stay so while the node lives; returns why it could not attach."""
        async with trio.open_nursery() as nursery:
            try:
                client = await self._greet(nursery)
            except (NodeUnreachable, Refused) as failure:
                nursery.cancel_scope.cancel()
                return failure
            self._client = client
            self.heard_at = trio.current_time()
            self.down = trio.Event()
            self.up.set()
            await self._watch_pulse(client)
            self._client = None
            self.up = trio.Event()
            self.down.set()
            nursery.cancel_scope.cancel()
        return None

    async def _greet(self, nursery: trio.Nursery) -> TrioClient:
        with trio.move_on_after(NODE_LOST_S):
            client = await TrioClient.connect(nursery, self._parts.path, self._parts.listen)
            await client.request("agent.attach", self._parts.agent)
            await self._parts.resume(client)
            return client
        raise NodeUnreachable(self._parts.path, f"it gave no answer in {NODE_LOST_S:g} s")

    async def _watch_pulse(self, client: TrioClient) -> None:
        """Return once the connection is closed or the node is silent."""
        while not client.closed.is_set():
            with trio.move_on_at(self.heard_at + NODE_LOST_S) as patience:
                try:
                    await client.call("hello")
                except NodeUnreachable:
                    return
            if patience.cancelled_caught:
                return
            self.heard_at = trio.current_time()
            with trio.move_on_after(PULSE_S):
                await client.closed.wait()
