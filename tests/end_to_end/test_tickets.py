"""Tickets over real sockets: a hundred machines rush for three places, and replies get lost."""

import contextlib
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mesh.cli.demo import DemoNode, wait_for
from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.errors import LocalError
from mesh.core.identity import NodeId, node_id
from mesh.core.instants import WallTime
from mesh.core.node.entry import JOIN_MARK
from mesh.core.params import LinkParams
from mesh.core.trust.joining import Joined, Joiner, JoinParts, JoinWish, Step
from mesh.core.trust.tickets import Ticket, parse_ticket
from tests.end_to_end.processes import RealMesh

RUSH = 100
USES = 3
LIMIT_S = 30.0
HELD = 150
STREAM_IDLE_S = LinkParams().stream_idle_s
SUITE = RealSuite()


@dataclass
class Machine:
    """A machine with a ticket: the joining side of the real exchange on a blocking socket."""

    number: int
    ticket: Ticket
    port: int
    hangs_up: int = 0
    """So often it is gone before the grant arrives."""
    refusal: str = ""
    joined: Joined | None = None
    asked: int = 0
    rng: random.Random = field(init=False)
    key: SigningKey = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"machine {self.number}")
        self.key = SigningKey(self.rng.randbytes(32))

    @property
    def id(self) -> NodeId:
        return node_id(SUITE.public_key(self.key))

    def ask_until_told(self) -> None:
        """Ask again and again, as a node does, until it is let in or refused."""
        until = time.monotonic() + LIMIT_S
        while self.joined is None and not self.refusal and time.monotonic() < until:
            with contextlib.suppress(OSError):
                self.ask()
            time.sleep(self.rng.uniform(0.0, 0.1))

    def ask(self) -> None:
        """Go through one exchange, or until the other side hangs up."""
        self.asked += 1
        parts = JoinParts(SUITE, self.key, self.rng, WallTime(time.time()))
        joiner = Joiner(parts, JoinWish(f"m{self.number}", self.ticket, wants_admin=False))
        with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as stream:
            stream.sendall(JOIN_MARK + joiner.start().send)
            step = Step()
            while not step.finished:
                data = stream.recv(65_536)
                if not data:
                    return
                try:
                    step = joiner.feed(data)
                except LocalError as refused:
                    self.refusal = refused.name
                    return
                stream.sendall(step.send)
                if step.send and self.asked <= self.hangs_up:
                    return
        self.joined = step.joined


def ticket_of(node: DemoNode, uses: int) -> Ticket:
    return parse_ticket(node.call("trust.invite", uses=uses, ttl_s=300.0)["ticket"])


def book_of(node: DemoNode, ticket: Ticket) -> tuple[int, list[str]]:
    """Return what the issuer remembers of a ticket: uses left, and who used one."""
    told = node.call("trust.invites")["tickets"]
    [entry] = [entry for entry in told if entry["ticket"] == ticket.id.hex()]
    return entry["uses_left"], entry["admitted"]


def test_a_hundred_at_once_with_a_ticket_for_three(real_mesh: RealMesh) -> None:
    (first,) = real_mesh.start(1)
    ticket = ticket_of(first, USES)
    machines = [Machine(n, ticket, first.port, hangs_up=n % 3) for n in range(RUSH)]
    ready = threading.Barrier(RUSH)

    def rush(machine: Machine) -> None:
        ready.wait()
        machine.ask_until_told()

    with ThreadPoolExecutor(RUSH) as pool:
        list(pool.map(rush, machines))
    joined = [machine for machine in machines if machine.joined is not None]
    assert len(joined) == USES
    others = [machine.refusal for machine in machines if machine.joined is None]
    assert others == ["ticket_used"] * (RUSH - USES)
    uses_left, admitted = book_of(first, ticket)
    assert uses_left == 0
    assert sorted(admitted) == sorted(machine.id.hex() for machine in joined)


def test_a_lost_reply_spends_nothing_not_even_over_a_crash(real_mesh: RealMesh) -> None:
    (first,) = real_mesh.start(1)
    ticket = ticket_of(first, 2)
    unlucky, other, late = (Machine(n, ticket, first.port, hangs_up=int(n == 0)) for n in range(3))
    unlucky.ask()
    wait_for("the use to be noted", lambda: book_of(first, ticket) == (1, [unlucky.id.hex()]), 10)
    real_mesh.kill(first)
    real_mesh.restart(first)
    unlucky.ask()
    assert unlucky.joined is not None
    again = Machine(0, ticket, first.port)
    again.ask()
    assert again.joined is not None
    assert again.joined.certificate.id == unlucky.joined.certificate.id
    assert book_of(first, ticket) == (1, [unlucky.id.hex()])
    for machine in (other, late):
        machine.ask_until_told()
    assert other.joined is not None
    assert late.refusal == "ticket_used"
    assert book_of(first, ticket) == (0, [unlucky.id.hex(), other.id.hex()])


def test_connections_that_say_nothing_keep_nobody_out(real_mesh: RealMesh) -> None:
    """They stay open for twenty seconds where there is room for them, and no more than there is."""
    (first,) = real_mesh.start(1)
    machine = Machine(0, ticket_of(first, 1), first.port)
    with contextlib.ExitStack() as held:
        for number in range(2 * HELD):
            stream = socket.create_connection(("127.0.0.1", first.port), timeout=5.0)
            held.enter_context(stream)
            if number % 2:
                stream.sendall(JOIN_MARK)
        begun = time.monotonic()
        machine.ask_until_told()
        took_s = time.monotonic() - begun
    assert machine.joined is not None, machine.refusal
    assert took_s < STREAM_IDLE_S / 2
