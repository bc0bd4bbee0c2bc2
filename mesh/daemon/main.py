"""`mesh up`: one node on this machine, from its data directory to its control socket."""

import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from mesh.control.client import socket_path
from mesh.control.server import ControlServer, ControlSettings
from mesh.core.commands import NodeIdentity, NodeLeave, NodeStatus
from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.effects import ClientId, Json
from mesh.core.errors import LocalError
from mesh.core.identity import Address
from mesh.core.inputs import CommandReceived
from mesh.core.instants import Instant
from mesh.core.node.assembly import decode_genesis_untrusted
from mesh.core.node.node import Node
from mesh.core.node.setup import Founding, NodeSetup
from mesh.core.params import Params, params_for
from mesh.core.trust.names import check_name
from mesh.core.trust.records import Genesis, mesh_id_of
from mesh.core.trust.tickets import parse_ticket
from mesh.core.trust_commands import TrustInvite
from mesh.daemon.blob_files import inventory_of, make_directory
from mesh.daemon.clock import SystemClock
from mesh.daemon.collector import look_at_all_for_ever, short_searches
from mesh.daemon.options import UpOptions
from mesh.daemon.own_memory import OwnMemory
from mesh.daemon.places import (
    advertised_addresses,
    bind_address,
    check_open,
    data_directory,
    operators,
    shut_out,
    warnings_about,
)
from mesh.daemon.readiness import Readiness
from mesh.daemon.resolver import parse_seed
from mesh.daemon.shell import Plan, Shell
from mesh.daemon.sockets import Sockets, bind_sockets
from mesh.daemon.talk import Cause, Talk, say, write
from mesh.storage.log import Log
from mesh.storage.state_directory import StateDirectory
from mesh.version import VERSION

OWN_CLIENT = ClientId(0)
"""Requests of the daemon itself; control clients are numbered from 1."""
FIRST_TICKET_S = 900.0
SLOW_JOIN_S = 3.0
SLOW_JOIN_HIGH_S = 60.0
SWITCH_S = 0.0005
"""How long a busy loop may keep the interpreter from the writer thread.

One commit changes hands about ten times; with Python's default of 5 ms it takes six times longer.
"""
MESH_ID_BYTES = 32
START_AGAIN = -1
"""In place of an exit code: the node is to be started anew, in this process."""


def first_of(errors: BaseExceptionGroup[LocalError]) -> LocalError:
    """Return one error of a group: what a person is told."""
    error = errors.exceptions[0]
    return first_of(error) if isinstance(error, BaseExceptionGroup) else error


def run(options: UpOptions) -> int:
    """Run a node until it leaves; returns the exit code of `mesh up`, or raises LocalError."""
    sys.setswitchinterval(SWITCH_S)
    return trio.run(_run, options)


@dataclass(slots=True)
class Front:
    """Stands between node and clients, so that the daemon itself can ask its node too."""

    options: UpOptions
    sockets: Sockets
    advertised: tuple[Address, ...]
    control: ControlSettings
    readiness: Readiness
    server: ControlServer | None = None
    shell: Shell | None = None
    asked: dict[int, type] = field(default_factory=dict)
    """The daemon's own requests under way."""
    answers: dict[type, Json] = field(default_factory=dict)
    """What was answered to them, the newest of each kind."""
    requests: int = 0
    memory: OwnMemory = field(default_factory=OwnMemory)
    problem: Json = None
    """What a person was told last of joining."""
    talk: Talk = field(default_factory=Talk)

    # ---- Answers

    def reply(self, client: ClientId, request: int, result: Json) -> None:
        """Answer a client, or note what the daemon asked for."""
        if client != OWN_CLIENT:
            assert self.server is not None
            self.server.reply(client, request, result)
            return
        self._note(request, result)

    def refuse(self, client: ClientId, request: int, error: LocalError) -> None:
        """Refuse a client's request; the daemon's own are allowed to fail."""
        if client != OWN_CLIENT:
            assert self.server is not None
            self.server.refuse(client, request, error)
            return
        self._note(request, None)

    def _note(self, request: int, answer: Json) -> None:
        kind = self.asked.pop(request)
        self.answers[kind] = answer
        if kind is NodeStatus:
            self._show_problem(answer)
        elif kind is not NodeLeave:
            self._show()

    def notify(self, topic: str, body: Mapping[str, Json], client: ClientId | None) -> None:
        """Tell watchers; once the node is a member, ask it what a person needs to know."""
        assert self.server is not None
        self.server.notify(topic, body, client)
        if topic == "alarm":
            self.talk.say(Cause.ALARM, f"ALARM: {body['text']}")
        if topic == "node" and body.get("state") == "pending":
            self._show_pending(body)
        if topic == "node" and body.get("state") == "member":
            self._ask(NodeIdentity())
            self._ask(TrustInvite(uses=1, ttl_s=FIRST_TICKET_S))

    def _ask(self, command: NodeIdentity | NodeStatus | TrustInvite | NodeLeave) -> None:
        assert self.shell is not None
        self.requests += 1
        self.asked[self.requests] = type(command)
        self.shell.notice(CommandReceived(OWN_CLIENT, self.requests, command, os.getuid()))

    def counters(self) -> dict[str, int]:
        """Return what this process has cost so far, with the figures of its sockets and disk."""
        own = {
            "process_cpu_ms": int(time.process_time() * 1000),
            "process_resident_kb": self.memory.resident_kb(),
        }
        return own if self.shell is None else own | self.shell.counters()

    def leave(self) -> None:
        """Ask the node to say goodbye."""
        self._ask(NodeLeave())

    @property
    def has_joined(self) -> bool:
        """Whether the node is a member, and has said so."""
        return NodeIdentity in self.answers

    def ask_for_problem(self) -> None:
        """Ask the node why it is not a member yet."""
        self._ask(NodeStatus())

    # ---- what a person sees

    def _show_problem(self, status: Json) -> None:
        node = status.get("node") if isinstance(status, dict) else None
        if not isinstance(node, dict) or node.get("state") != "joining":
            return
        problem = node.get("last_problem")
        if problem != self.problem:
            self.problem = problem
            self.talk.say(
                Cause.JOINING,
                f"still joining; {problem}\n  `mesh doctor --join TICKET` looks at the way there",
            )

    def _show_pending(self, body: Mapping[str, Json]) -> None:
        self.talk.say(
            Cause.PENDING,
            f"waiting to be let into mesh {body['mesh']}, root {body['root']}\n"
            f"  this node      {body['name']}  {body['fingerprint']}\n"
            f"  the other end  {body['asked']}\n"
            f"  there, an admin says: mesh admit {body['name']}",
        )

    def _show(self) -> None:
        identity, ticket = self.answers.get(NodeIdentity), self.answers.get(TrustInvite)
        if TrustInvite not in self.answers or not isinstance(identity, dict):
            return
        self.readiness.ready(f"member of {self._mesh(identity)}")
        shown = self._as_json(identity, ticket)
        if self.options.json:
            write(json.dumps(shown), sys.stdout)
            return
        rows = [
            ("node", f"{identity['name']}  {identity['id']}"),
            ("fingerprint", identity["fingerprint"]),
            ("mesh", self._mesh(identity)),
            ("listening", f"{self.sockets.address}, advertised {self._advertised()}"),
            ("socket", self.control.path),
        ]
        lines = [f"{label:12} {value}" for label, value in rows]
        if shown["join"] is not None:
            lines += ["", "on the next machine (one use, 15 minutes):", f"  {shown['join']}"]
        elif self.options.open:
            lines += ["", "to join:", f"  mesh up --seed {self._advertised()}"]
        write("\n".join(lines), sys.stdout)

    def _mesh(self, identity: Mapping[str, Json]) -> str:
        mesh = identity["mesh"]
        assert isinstance(mesh, dict)
        return f"{mesh['name']}  {mesh['id']}"

    def _advertised(self) -> str:
        return ", ".join(map(str, self.advertised))

    def _as_json(self, identity: Mapping[str, Json], ticket: Json) -> dict[str, Json]:
        text = ticket.get("ticket") if isinstance(ticket, dict) else None
        return {
            "v": 1,
            "node": dict(identity),
            "listening": str(self.sockets.address),
            "advertised": [str(address) for address in self.advertised],
            "socket": self.control.path,
            "join": None if text is None else f"mesh up --join {text}",
        }


def _founding(options: UpOptions, name: str) -> Founding | None:
    """Return the wish to found a mesh, unless one is to be joined; raises LocalError."""
    if options.join is not None or options.seeds:
        if options.open:
            raise LocalError(
                "bad_founding",
                "--open is chosen when a mesh is founded, and here one is to be joined",
                "leave --open out, or found a mesh without --join and --seed",
            )
        return None
    if options.mesh is not None:
        raise LocalError(
            "bad_founding",
            "--mesh names a mesh to join, and nothing says where its members are",
            "add --seed HOST:PORT, or leave --mesh out to found a mesh",
        )
    return Founding(f"{name}-mesh", options.profile or "lan", options.open)


def _check_rows(
    options: UpOptions, rows: Mapping[str, Mapping[bytes, bytes]], bound: Address
) -> None:
    """Raise LocalError when the data directory belongs to another mesh than the one asked for.

    Also when that mesh is open to everybody who reaches this address.
    """
    known = rows.get("mesh", {}).get(b"")
    if known is None:
        _check_memory(options, is_lost="fact" in rows)
        return
    genesis = decode_genesis_untrusted(known)
    mesh = mesh_id_of(genesis.payload)
    fact = Genesis.decode_untrusted(genesis.payload)
    _check_mesh(options, fact.name, mesh)
    profile = fact.profile
    if fact.open:
        check_open(bound, insist=options.insist)
        say("warning: this mesh is OPEN: everybody who reaches it takes part")
    if options.profile not in {None, profile}:
        raise LocalError(
            "profile_is_fixed",
            f"the profile of this mesh is {profile!r}",
            "leave --profile out: it is chosen when a mesh is founded",
        )


def _check_mesh(options: UpOptions, name: str, mesh: bytes) -> None:
    """Raise LocalError when a node that is in one mesh is asked to join another."""
    asked = None if options.join is None else parse_ticket(options.join).mesh
    for wanted in (asked, _mesh_id(options.mesh)):
        if wanted not in {None, mesh}:
            raise LocalError(
                "member_of_another_mesh",
                f"this data directory belongs to a node of mesh {name} ({mesh.hex()[:16]}), and "
                "another one is to be joined",
                "use another directory with --data; to give that mesh up, `mesh rekey` with this "
                "--data, then join again",
            )
    if options.seeds and options.join is None and options.mesh is None:
        say(f"in mesh {name} ({mesh.hex()[:16]}) already: --seed says where its members may be")


def _check_memory(options: UpOptions, *, is_lost: bool) -> None:
    """Raise LocalError when a node that was a member no longer knows of which mesh.

    Without a way in it would found another mesh under its old key, and work there alone.
    """
    if is_lost and options.join is None and not options.seeds:
        raise LocalError(
            "mesh_forgotten",
            "this data directory is a node's, but what it says of its mesh is damaged or deleted",
            "join again: mesh up --join TICKET, with a new ticket of another member; "
            "or move the directory away to start as a new node",
        )


def _mesh_id(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        mesh = bytes.fromhex(text)
    except ValueError:
        mesh = b""
    if len(mesh) != MESH_ID_BYTES:
        raise LocalError(
            "bad_mesh_id",
            f"{text!r} is no mesh id",
            "copy the 64 digits that `mesh id` shows on a member",
        )
    return mesh


def _params(options: UpOptions) -> Params:
    params = params_for(options.profile or "lan")
    if options.retention_s is None:
        return params
    params = replace(params, claims=replace(params.claims, retention_s=options.retention_s))
    try:
        params.check()
    except ValueError as wrong:
        raise LocalError("bad_retention", str(wrong), "give a time such as 1h or 7d") from None
    return params


def _setup(
    options: UpOptions, key: bytes, rows: Mapping[str, Mapping[bytes, bytes]], front: Front
) -> NodeSetup:
    name = check_name(options.name or socket.gethostname() or "node")
    for seed in options.seeds:
        parse_seed(seed)
    _check_rows(options, rows, front.sockets.address)
    known = "mesh" in rows
    params = _params(options)
    return NodeSetup(
        suite=RealSuite(),
        key=SigningKey(key),
        params=params,
        rng=random.SystemRandom(),
        name=name,
        addresses=front.advertised,
        seeds=options.seeds,
        ticket=options.join,
        mesh=_mesh_id(options.mesh),
        founding=None if known else _founding(options, name),
        wants_admin=not options.no_admin,
        tags=options.tags,
        rows=rows,
        version=VERSION,
        driver_counters=front.counters,
    )


async def _run(options: UpOptions) -> int:
    with ExitStack() as stack:
        state = stack.enter_context(StateDirectory(data_directory(options)))
        _check_memory(options, is_lost=state.has_lost_log)
        key = state.key()
        while True:
            log, rows = state.open_log()
            code = await _serve(options, key, log, rows)
            if code != START_AGAIN:
                return code


async def _serve(
    options: UpOptions, key: bytes, log: Log, rows: Mapping[str, Mapping[bytes, bytes]]
) -> int:
    try:
        sockets = bind_sockets(bind_address(options))
    except LocalError:
        log.close()
        raise
    clock = SystemClock()

    def instant() -> Instant:
        return clock.now().instant

    instance = None if options.instance is None else str(options.instance)
    path = socket_path(options.socket, instance)
    readiness = Readiness(os.environ, instant)
    try:
        advertised = advertised_addresses(options, sockets.address)
        control = ControlSettings(path, operators(options))
        front = Front(options, sockets, advertised, control, readiness)
        blobs = make_directory(log.path.parent / "blobs")
        setup = replace(_setup(options, key, rows, front), blobs=inventory_of(blobs))
    except LocalError:
        sockets.close()
        log.close()
        raise
    plan = Plan(log, sockets, setup.params, front, clock, readiness, blobs=blobs)
    warnings = warnings_about(options, sockets.address, advertised[0])
    closed = shut_out(Path(path).parent, control.group)
    for warning in warnings if closed is None else (*warnings, closed):
        say(f"warning: {warning}")
    if setup.founding is not None:
        say(
            f"new mesh: its root key is in {log.path.parent}, not encrypted; keep a copy of it safe"
        )
    return await _drive(Node(setup), plan, front)


async def _drive(node: Node, plan: Plan, front: Front) -> int:
    reason = ""
    failure: LocalError | None = None
    async with Shell(node, plan) as shell:
        front.shell = shell
        front.server = ControlServer(front.control, shell.put)
        try:
            with short_searches():
                async with trio.open_nursery() as nursery:
                    await nursery.start(front.server.serve)
                    nursery.start_soon(_leave_on_signal, front)
                    nursery.start_soon(_tell_slow_join, front)
                    nursery.start_soon(front.talk.sum_up_for_ever)
                    nursery.start_soon(look_at_all_for_ever)
                    reason = await shell.run()
                    nursery.cancel_scope.cancel()
        except* LocalError as errors:
            failure = first_of(errors)
        finally:
            if not shell.again:  # a service manager would wait for the end, and then make one
                front.readiness.stopping()
            front.readiness.close()
            front.memory.close()
    if failure is not None:
        raise failure
    if shell.again:
        say(f"{reason}: starting again")
        return START_AGAIN
    if shell.hint:
        say(f"mesh up: {reason}\n  hint: {shell.hint}")
        return 1
    return 0


async def _leave_on_signal(front: Front) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            front.leave()


async def _tell_slow_join(front: Front) -> None:
    """Say on stderr that joining takes long and why, and again whenever that has changed."""
    pause_s = SLOW_JOIN_S
    while True:
        await trio.sleep(pause_s)
        if front.has_joined:
            return
        front.ask_for_problem()
        pause_s = min(2 * pause_s, SLOW_JOIN_HIGH_S)
