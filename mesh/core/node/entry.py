"""How a node gets into a mesh: it founds one, or asks at the addresses of a ticket or a seed."""

from dataclasses import dataclass, field
from itertools import count

from mesh.core.crypto.keys import fingerprint, make_signing_key, root_key_hash
from mesh.core.effects import (
    CloseStream,
    Effect,
    Halt,
    Json,
    Notify,
    OpenStream,
    ResolveSeeds,
    Row,
    SendStream,
    StreamId,
)
from mesh.core.errors import LocalError, RemoteError
from mesh.core.gossip.gossip import Family
from mesh.core.gossip.journal import ROW_KIND, row_key
from mesh.core.identity import Address, Boot, MeshId, node_id
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.membership.facts import Presence
from mesh.core.node.setup import NodeSetup
from mesh.core.trust.founding import MeshPlan, found
from mesh.core.trust.joining import Joined, Joiner, JoinParts, JoinWish, Waiting
from mesh.core.trust.tickets import Ticket, parse_ticket
from mesh.core.wire.envelope import (
    Contexts,
    SignedFact,
    Verifier,
    decode_signed_fact_untrusted,
)

JOIN_MARK = b"J"
DIAL_LIMIT_S = 10.0
NEXT_ADDRESS_S = 0.05
ADDRESSES_MAX = 64
NO_BOOT = Boot(0)
PRESENCE_CONTEXTS: Contexts = {Presence.CONTEXT: Presence}
PENDING_AGAIN_S = 2.0
"""Whoever waits to be let in asks again about this often."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The rows that make a node a member, and whom it may talk to."""

    rows: tuple[Row, ...]
    contacts: tuple[bytes, ...] = ()
    former: Boot = NO_BOOT
    """The greatest boot of this node that the mesh knows: its disk may have forgotten it."""


def fact_row(signed: SignedFact) -> Row:
    """Return the row under which a trust record is kept."""
    family = Family.MEMBERS
    return Row(ROW_KIND, row_key(family, signed.id), bytes((family,)) + signed.encode())


def found_mesh(setup: NodeSetup, now: Now) -> Granted:
    """Make a new mesh with this node as its admin; the root keys stay on this machine."""
    assert setup.founding is not None
    root_key, next_root_key = make_signing_key(setup.rng), make_signing_key(setup.rng)
    plan = MeshPlan(
        name=setup.founding.name,
        profile=setup.founding.profile,
        open=setup.founding.open,
        created_s=max(0, int(now.wall)),
        nonce=setup.rng.randbytes(16),
        next_root_hash=root_key_hash(setup.suite.public_key(next_root_key)),
    )
    founded = found(setup.suite, root_key, setup.key, plan)
    return Granted(
        (
            Row("mesh", b"", founded.genesis.signed.encode()),
            Row("root_key", b"", root_key),
            Row("root_key", b"next", next_root_key),
            *(fact_row(record.signed) for record in founded.records),
        )
    )


@dataclass(slots=True)
class Entry:
    """A stranger that asks one address after the other until somebody lets it in."""

    setup: NodeSetup
    stream_ids: "count[int]"
    addresses: tuple[Address, ...] = ()
    granted: Granted | None = None
    ticket: Ticket | None = None
    refusals: dict[Address, LocalError] = field(default_factory=dict)
    last_problem: str = "nobody was asked yet"
    wait_s: float = 0.0
    due: Instant = NEVER
    waiting: Waiting | None = None
    """Set once somebody has said that an admin has to let this node in."""
    _turn: int = 0
    _stream: StreamId | None = None
    _asked: Address | None = None
    _joiner: Joiner | None = None

    def start(self, now: Now) -> list[Effect]:
        """Begin to ask; raises LocalError for a damaged ticket."""
        if self.setup.ticket is not None:
            self.ticket = parse_ticket(self.setup.ticket)
            self.addresses = self.ticket.addresses
        effects: list[Effect] = []
        if self.setup.seeds:
            effects.append(ResolveSeeds(self.setup.seeds))
            self.due = later(now.instant, DIAL_LIMIT_S)
        if self.addresses:
            effects += self._ask(now)
        return effects

    def handle_resolved(self, now: Now, addresses: tuple[Address, ...]) -> list[Effect]:
        """Know what the seeds stand for now."""
        own = self.setup.addresses
        known = dict.fromkeys((*self.addresses, *addresses))
        self.addresses = tuple(a for a in known if a not in own)[:ADDRESSES_MAX]
        if not addresses:
            self.last_problem = f"no seed could be resolved: {', '.join(self.setup.seeds)}"
        elif not self.addresses:
            self.last_problem = f"{', '.join(self.setup.seeds)} is the address of this node itself"
        is_free = self._stream is None and self.granted is None
        return self._ask(now) if is_free and self.addresses else []

    def _ask(self, now: Now) -> list[Effect]:
        address = self.addresses[self._turn % len(self.addresses)]
        self._turn += 1
        self._asked = address
        self._stream = StreamId(next(self.stream_ids))
        self.due = later(now.instant, DIAL_LIMIT_S)
        return [OpenStream(self._stream, address)]

    def owns(self, stream: StreamId) -> bool:
        """Whether a stream is the one that asks."""
        return stream == self._stream

    def handle_opened(self, now: Now, stream: StreamId) -> list[Effect]:
        """Somebody is there: say hello."""
        mesh = None if self.setup.mesh is None else MeshId(self.setup.mesh)
        wish = JoinWish(self.setup.name, self.ticket, mesh, self.setup.wants_admin)
        parts = JoinParts(self.setup.suite, self.setup.key, self.setup.rng, now.wall)
        self._joiner = Joiner(parts, wish)
        return [SendStream(stream, JOIN_MARK + self._joiner.start().send)]

    def receive_untrusted(self, now: Now, stream: StreamId, data: bytes) -> list[Effect]:
        """Go on with the exchange; sets `granted` at its end."""
        assert self._joiner is not None
        try:
            step = self._joiner.feed(data)
        except LocalError as refusal:
            return [CloseStream(stream), *self._refused(now, refusal)]
        except RemoteError as error:
            self.last_problem = f"{self._asked} answered with something else: {error}"
            return [CloseStream(stream), *self._rest(now)]
        effects: list[Effect] = [SendStream(stream, step.send)] if step.send else []
        if step.joined is not None:
            self.granted = self._rows(step.joined)
            self._stream, self.due = None, NEVER
            effects.append(CloseStream(stream))
        elif step.waiting is not None:
            effects += [CloseStream(stream), *self._wait(now, step.waiting)]
        return effects

    def _wait(self, now: Now, waiting: Waiting) -> list[Effect]:
        """Ask there again until an admin has decided."""
        self.last_problem = f"{self._asked}: waiting until an admin lets this node in"
        self._stream = self._joiner = None
        self._turn -= 1
        self.due = later(now.instant, PENDING_AGAIN_S * self.setup.rng.uniform(0.75, 1.25))
        is_news, self.waiting = waiting != self.waiting, waiting
        return [Notify("node", self._pending())] if is_news else []

    def _pending(self) -> dict[str, Json]:
        assert self.waiting is not None
        return {
            "state": "pending",
            "name": self.setup.name,
            "fingerprint": fingerprint(self.setup.suite.public_key(self.setup.key)),
            "mesh": self.waiting.mesh.hex(),
            "root": fingerprint(self.waiting.root),
            "asked": fingerprint(self.waiting.issuer),
        }

    def _rows(self, joined: Joined) -> Granted:
        genesis = joined.trust.genesis.signed.encode()
        records = [fact_row(record.signed) for record in joined.trust.records()]
        rows = (Row("mesh", b"", genesis), *records)
        return Granted(rows, joined.contacts, self._former_boot(joined))

    def _former_boot(self, joined: Joined) -> Boot:
        """Return the boot of an own presence among the contacts, 0 if there is none."""
        verifier = Verifier(self.setup.suite, joined.mesh)
        own = self.setup.suite.public_key(self.setup.key)
        former = NO_BOOT
        for contact in joined.contacts:
            try:
                signed = decode_signed_fact_untrusted(contact, joined.mesh)
                if signed.author == own:
                    fact = verifier.open_untrusted(signed, PRESENCE_CONTEXTS).fact
                    former = max(former, fact.boot)
            except RemoteError:
                continue
        return former

    def _refused(self, now: Now, refusal: LocalError) -> list[Effect]:
        assert self._asked is not None
        self.refusals[self._asked] = refusal
        self.last_problem = f"{self._asked} refused: {refusal.message}"
        if all(address in self.refusals for address in self.addresses):
            self._stream, self.due = None, NEVER
            return [Halt(refusal.message, refusal.hint)]
        return self._rest(now)

    def _rest(self, now: Now) -> list[Effect]:
        params = self.setup.params.links
        self._stream = self._joiner = None
        if self.addresses and self._turn % len(self.addresses):  # the others first
            self.due = later(now.instant, NEXT_ADDRESS_S)
            return []
        self.wait_s = min(max(self.wait_s * 1.5, params.seed_retry_s), params.seed_retry_high_s)
        # Many that were turned away together must not come back together.
        self.due = later(now.instant, self.wait_s * self.setup.rng.uniform(0.25, 1.0))
        return []

    def handle_closed(self, now: Now, stream: StreamId, reason: str) -> list[Effect]:
        """Nobody there, or they hung up: try the next."""
        if stream != self._stream:
            return []
        self.last_problem = f"{self._asked}: {reason}"
        return self._rest(now)

    def handle_timeout(self, now: Now) -> list[Effect]:
        """Ask the next address, resolving the seeds again."""
        if now.instant < self.due:
            return []
        effects: list[Effect] = [] if self._stream is None else [CloseStream(self._stream)]
        self._stream = None
        self.due = later(now.instant, DIAL_LIMIT_S)
        if self.setup.seeds:
            effects.append(ResolveSeeds(self.setup.seeds))
        return effects + self._ask(now) if self.addresses else effects

    def next_deadline(self) -> Instant:
        """Return when the next address is to be asked."""
        return self.due

    def status(self) -> dict[str, Json]:
        """Return what `mesh status` shows of a node that is still outside."""
        key, waiting = self.setup.suite.public_key(self.setup.key), self.waiting
        mesh: dict[str, Json] = {"id": "", "name": "", "members": {}}
        if waiting is not None:
            shown = {"root": fingerprint(waiting.root), "asked": fingerprint(waiting.issuer)}
            mesh |= {"id": waiting.mesh.hex(), **shown}
        return {
            "node": {
                "id": node_id(key).hex(),
                "name": self.setup.name,
                "fingerprint": fingerprint(key),
                "address": str(self.setup.addresses[0]),
                "state": "joining" if waiting is None else "pending",
                "asking": [str(address) for address in self.addresses],
                "last_problem": self.last_problem,
            },
            "mesh": mesh,
            "tasks": {},
            "counters": {},
        }
