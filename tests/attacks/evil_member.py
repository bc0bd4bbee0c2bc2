"""A member with a valid certificate that says whatever it is told to say, on real sockets.

It is a real node, driven by the real shell in a thread of its own, so the others know it and
answer it. What its rules would never say is sealed with its link keys and sent past them.
"""

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import trio

from mesh.cli.demo import free_ports, wait_for
from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.identity import Address, NodeId
from mesh.core.node.node import Node
from mesh.core.node.participant import Participant
from mesh.core.node.setup import NodeSetup
from mesh.core.params import params_for
from mesh.daemon.clock import SystemClock
from mesh.daemon.shell import Plan, Shell
from mesh.daemon.sockets import bind_sockets
from mesh.storage.state_directory import StateDirectory

JOIN_LIMIT_S = 20.0
HOST = "127.0.0.1"
Answer = TypeVar("Answer")


class EvilMember:
    """Joins with a ticket when it is entered; `say` sends what no honest node would."""

    def __init__(
        self, folder: Path, ticket: str, name: str = "evil", address: Address | None = None
    ) -> None:
        self._folder, self._ticket, self._name = folder, ticket, name
        self.address = Address(HOST, free_ports(1)[0]) if address is None else address
        self._node: Node | None = None
        self._shell: Shell | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)
        self._port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._own_port: socket.socket | None = None

    async def _run(self) -> None:
        with StateDirectory(self._folder) as state:
            key = SigningKey(state.key())
            log, rows = state.open_log()
            setup = NodeSetup(
                suite=RealSuite(),
                key=key,
                params=params_for("local"),
                rng=random.SystemRandom(),
                name=self._name,
                addresses=(self.address,),
                ticket=self._ticket,
                wants_admin=False,
                rows=rows,
            )
            self._node = Node(setup)
            sockets = bind_sockets(self.address)
            self._own_port = sockets.udp
            plan = Plan(log, sockets, setup.params)
            async with Shell(self._node, plan) as shell:
                self._shell, self._token = shell, trio.lowlevel.current_trio_token()
                await shell.run()

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for("the evil member joins", self._is_member, JOIN_LIMIT_S)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._token is not None and self._shell is not None:
            with suppress(trio.RunFinishedError):
                trio.from_thread.run_sync(self._shell.stop, trio_token=self._token)
        self._thread.join()
        self._port.close()

    def _is_member(self) -> bool:
        return self._node is not None and self._node.participant is not None

    @property
    def participant(self) -> Participant:
        """Its parts; changed by its own thread only, so look and do not touch."""
        assert self._node is not None
        assert self._node.participant is not None
        return self._node.participant

    def peer(self, name: str) -> NodeId:
        """Return the id of an honest node."""
        now = SystemClock().now()
        views = self.participant.membership.members(now)
        return next(view.id for view in views if view.name == name)

    def perform(self, act: Callable[[], Answer]) -> Answer:
        """Return what comes of an act of its own thread."""
        assert self._token is not None
        return trio.from_thread.run_sync(act, trio_token=self._token)

    def mind_nothing(self) -> None:
        """Its own program does not mind from now on what else is said with its key."""
        assert self._node is not None
        self._node.own_key.is_rising = True

    def seal(self, peer: NodeId, messages: list[tuple[int, bytes]]) -> list[bytes]:
        """Return datagrams that this peer will take for honest ones."""
        links, now = self.participant.transport.links, SystemClock().now().instant
        return self.perform(partial(links.seal, now, peer, messages))

    def say(self, peer: NodeId, kind: int, body: bytes) -> None:
        """Send one message past this node's own rules."""
        target = self.participant.transport.links.address(peer)
        assert target is not None
        for data in self.seal(peer, [(kind, body)]):
            self._port.sendto(data, (target.host, target.port))

    def whisper(self, peer: NodeId, kind: int, body: bytes) -> None:
        """The same within an act of its own thread, and from where its honest words come."""
        links = self.participant.transport.links
        target = links.address(peer)
        assert target is not None
        assert self._own_port is not None
        for data in links.seal(SystemClock().now().instant, peer, [(kind, body)]):
            with suppress(BlockingIOError):
                self._own_port.sendto(data, (target.host, target.port))
