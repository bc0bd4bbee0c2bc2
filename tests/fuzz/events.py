"""Bytes as the life of a node: an input says what happens to it, one thing after another."""

import hashlib
from collections.abc import Callable
from typing import Any

from msgspec import inspect

from mesh.control.messages import Watch, decode_command
from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import Claim, Result, Spec
from mesh.core.commands import (
    TaskClaim,
    TaskComplete,
    TaskFail,
    TaskRelease,
    TaskResume,
    TaskStart,
    TaskSubmit,
)
from mesh.core.errors import LocalError, RemoteError
from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import (
    EagerFacts,
    Have,
    IdList,
    Pull,
    Push,
    PushAck,
    PushObjection,
    Section,
    SyncIds,
    SyncRanges,
    SyncWant,
    ToldFacts,
)
from mesh.core.gossip.vocabulary import Family, Want
from mesh.core.identity import Address, TaskId, node_id, task_text
from mesh.core.inputs import DatagramReceived, LoopLag, SeedsResolved, SuspendGap
from mesh.core.lattice.fingerprint import Range
from mesh.core.links.hello import ANSWER, ASK, encode_hello
from mesh.core.links.links import Links
from mesh.core.links.stream import MARK, RANDOM_BYTES, SealedStream, sealed_stream
from mesh.core.membership.facts import Accusation, Verdict
from mesh.core.membership.messages import Accuse, Ack, Ping
from mesh.core.node.bulk import FRAME_BYTES_MAX
from mesh.core.node.entry import JOIN_MARK
from mesh.core.trust.applicants import Applicants
from mesh.core.trust.joining import AdmitParts, Admitter, Joiner, JoinParts, JoinWish
from mesh.core.trust.tickets import TicketBook, ticket_text
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Fact, SignedFact, sign_batch
from mesh.core.wire.frame import BODY_BYTES_MAX, Message
from tests.fuzz.cast import BOOT, SUITE, Cast, Peer, cast, make_node
from tests.fuzz.driver import START, Driver
from tests.fuzz.feed import Feed, Known
from tests.fuzz.kinds import COMMANDS, CONTEXTS, MESSAGES

EVENTS_MAX = 60
CLIENTS = 3
WORDS = ("build", "cli", "node", "alive", "submitted", "zone", "aGk=", "a", "(", "a{9999999999}")


class Life:
    """One node, those around it, and the bytes that say what they do."""

    def __init__(self, data: bytes) -> None:
        self.feed = Feed(data)
        self.cast: Cast = cast()
        self.known = Known()
        self.is_stranger = self.feed.byte() % 8 == 7
        ticket = ticket_text(self.cast.ticket) if self.is_stranger else None
        self.driver = Driver(make_node(None if self.is_stranger else self.cast.rows, ticket=ticket))
        self.links: dict[str, Links] = {}
        self.sealed: dict[Any, tuple[Peer, bytes, SealedStream | None]] = {}
        self.joiners: dict[Any, Joiner] = {}
        self.admitters: dict[Any, Admitter] = {}
        self._note_cast()

    def _note_cast(self) -> None:
        for peer in self.cast.peers:
            self.known.note(peer.author.id, peer.author.public_key, peer.presence.id)
        founder = self.cast.founded.certificate.signed.author
        self.known.note(founder, node_id(founder), self.cast.mesh)
        self.known.numbers += [BOOT, 0, 1]
        self.known.texts += [*WORDS, "10.0.0.2"]

    # Time

    def live(self) -> None:
        """Let everything happen that the bytes say."""
        self.driver.start()
        if not self.is_stranger:
            self.driver.commit()
            self._learn_node()
        for _ in range(EVENTS_MAX):
            if not self.feed or self.driver.halted:
                break
            self.feed.choice(EVENTS)(self)
            self._note_news()
        self.driver.come_to_rest()

    def _learn_node(self) -> None:
        participant = self.driver.node.participant
        assert participant is not None
        presence = participant.membership.own_presence
        assert presence is not None
        self.known.numbers.append(presence.fact.boot)
        for peer in self.cast.peers:
            self.links[peer.name] = peer.links(presence)

    def _note_news(self) -> None:
        """Learn the ids, handles and task names that a bystander could know."""
        participant = self.driver.node.participant
        if participant is None:
            return
        if not self.links:
            self._learn_node()
        for family in Family:
            self.known.note(*participant.gossip.ids(family)[-8:])
        tasks = participant.tasks()[-4:]
        self.known.note(*tasks)
        self.known.texts[len(WORDS) + 1 :] = [task_text(task) for task in tasks]
        for result in self.driver.results[-4:]:
            if isinstance(result, dict):
                self.known.texts += [v for v in result.values() if isinstance(v, str) and v]

    # What happens

    def datagram(self) -> None:
        """Anything comes from anywhere."""
        source = Address(f"10.0.1.{self.feed.byte()}", 7946)
        self.driver.give(DatagramReceived(self.feed.chunk(), source))

    def echo(self) -> None:
        """Something that the node sent comes back, changed or not."""
        if self.driver.datagrams:
            data = bytearray(self.feed.choice(self.driver.datagrams).data)
            at, flip = self.feed.uint(2), self.feed.byte()
            data[at % len(data)] ^= flip
            self.driver.give(DatagramReceived(bytes(data), self.cast.admin.address))

    def hello(self) -> None:
        """Somebody greets, with facts of its own or of others."""
        facts = [self._signed().encode()[:1000] for _ in range(self.feed.byte() % 4)]
        while sum(map(len, facts)) > 1150:
            facts.pop()
        kind = self.feed.choice((ASK, ANSWER, 3))
        source = Address(f"10.0.2.{self.feed.byte()}", 7946)
        data = encode_hello(self.cast.mesh, kind, facts)
        self.driver.give(DatagramReceived(data, source))

    def raw_message(self) -> None:
        """A member says any bytes, under any number."""
        self._say(self._member(), self.feed.byte(), self.feed.chunk()[:BODY_BYTES_MAX])

    def message(self) -> None:
        """A member says something that has the right shape."""
        peer, kind = self._member(), self.feed.choice(MESSAGES)
        if kind.LAYOUT:
            body = kind(*self.feed.values(kind.LAYOUT, self.known)).encode()
        else:
            body = self.feed.chunk()
        self._say(peer, kind.KIND, body[:BODY_BYTES_MAX])

    def probe(self) -> None:
        """A member pings, or answers."""
        peer, numbers = self._member(), (self.feed.byte(), self.feed.uint(8), self.feed.uint(8))
        beat = Ping(*numbers) if self.feed.byte() & 1 else Ack(*numbers)
        self._say(peer, beat.KIND, beat.encode())

    def compare(self) -> None:
        """A member compares what is held, asks for some of it, or acknowledges it."""
        peer, family = self._member(), self.feed.choice(tuple(Family))
        known = self.known.binaries[32]
        ids = tuple(sorted({self.feed.choice(known) for _ in range(self.feed.byte() % 6)}))
        short = tuple(id_[:8] for id_ in ids)
        prefix = self.feed.choice(known).hex()[: self.feed.byte() % 5]
        mark, number = self.feed.uint(8), self.feed.byte()
        said: list[Message] = [
            Have(family, short),
            Pull(family, short),
            SyncRanges(family, (Range(prefix, number, mark),)),
            SyncIds(family, (IdList(prefix, mark, 8, _below(prefix, short)),)),
            SyncIds(family, (IdList(prefix, mark, 32, _below(prefix, ids)),)),
            SyncWant(family, 8, short),
            SyncWant(family, 32, ids),
            PushAck(durable=bool(number & 1), entries=((number, 0), (number + 1, 0))),
            PushObjection(number, 0),
        ]
        message = self.feed.choice(said)
        self._say(peer, message.KIND, message.encode())

    def work(self) -> None:
        """A client submits and claims, or goes on with what it has claimed."""
        answers = [answer for answer in self.driver.results if isinstance(answer, dict)]
        handles = [str(answer["handle"]) for answer in answers if "handle" in answer]
        client, how = self.feed.byte() % CLIENTS, self.feed.byte()
        if not handles or how < 64:
            self.driver.ask(client, TaskSubmit("build", copies=1 + how % 2))
            claim = TaskClaim(kinds=("build",), detached=bool(how & 2), wait_s=float(how & 60))
            self.driver.ask(client, claim)
            return
        handle = handles[-1 - self.feed.byte() % min(4, len(handles))]
        step = self.feed.choice(
            (TaskStart, TaskStart, TaskComplete, TaskFail, TaskRelease, TaskResume)
        )
        self.driver.ask(client, step(handle))

    def accuse(self) -> None:
        """A member accuses somebody."""
        peer = self._member()
        fact = Accusation(*self.feed.values(Accusation.LAYOUT, self.known))
        signed = peer.author.sign([fact])[0].signed
        self._say(peer, Accuse.KIND, Accuse(signed.encode()).encode())

    def facts(self) -> None:
        """A member passes facts on."""
        peer, family = self._member(), self.feed.choice(tuple(Family))
        items = tuple(
            Item(Form.SINGLE, self._signed().encode()) for _ in range(1 + self.feed.byte() % 3)
        )
        how = self.feed.byte() % 6
        if how < 3:
            want = Want(how)
            body = Push(family, (Section(self.feed.uint(6), self.feed.uint(2), want, items),))
            self._say(peer, Push.KIND, body.encode())
        else:
            kind = ToldFacts if how == 3 else EagerFacts
            self._say(peer, kind.KIND, kind(family, items).encode())

    def stream(self) -> None:
        """Somebody dials the node."""
        stream = self.driver.accept(self.cast.stranger.address)
        how = self.feed.byte() % 4
        if how == 0:
            self.driver.write(stream, self.feed.chunk())
        elif how == 1 and self.links:
            peer, ours = self._member(), self.feed.take(RANDOM_BYTES)
            index = self._keys(peer).send_index
            self.sealed[stream] = (peer, ours, None)
            self.driver.write(stream, MARK + index + ours)
        elif how == 2:
            self._begin_join(stream)

    def stream_bytes(self) -> None:
        """A stream brings bytes: any, or what belongs there."""
        if not self.driver.streams:
            return
        stream = self.feed.choice(list(self.driver.streams))
        if stream in self.sealed:
            self._write_sealed(stream)
        elif stream in self.joiners or self.is_stranger:
            self._go_on_joining(stream)
        else:
            self.driver.write(stream, self.feed.chunk())

    def stream_end(self) -> None:
        """A stream ends, or what was dialled does not answer."""
        known = [*self.driver.streams, *self.driver.dialled]
        if known:
            self.driver.close(self.feed.choice(known))

    def stream_up(self) -> None:
        """Whom the node dialled answers."""
        if self.driver.dialled:
            stream = next(iter(self.driver.dialled))
            self.driver.connect(stream)
            opening = bytes(self.driver.streams.get(stream, b""))
            if opening[:1] == MARK and len(opening) > RANDOM_BYTES:
                peer = self._member()
                ours = self.feed.take(RANDOM_BYTES)
                keys = self._keys(peer)
                theirs = opening[-RANDOM_BYTES:]
                made = sealed_stream(SUITE, keys, theirs, ours, FRAME_BYTES_MAX)
                self.sealed[stream] = (peer, ours, made)
                self.driver.write(stream, ours)

    def commits(self) -> None:
        """The disk has done some of its work."""
        self.driver.commit(1 + self.feed.byte() % 4)

    def commit_fails(self) -> None:
        """The disk is full."""
        if self.driver.node.participant is not None:
            self.driver.fail_commit()

    def time(self) -> None:
        """Time passes: a little, or much."""
        number = self.feed.byte()
        self.driver.pass_time(number / 64 if number < 200 else float(1 << (number - 200) // 2))

    def wait(self) -> None:
        """Time passes until the node wants to act."""
        self.driver.wait()

    def oversleep(self) -> None:
        """The host slept, or the loop was late."""
        seconds = self.feed.byte() / 16
        late = self.feed.byte() & 1
        self.driver.give(LoopLag(seconds) if late else SuspendGap(seconds))

    def resolved(self) -> None:
        """Somebody looked the seeds up."""
        count = self.feed.byte() % 4
        addresses = tuple(Address(f"10.0.3.{self.feed.byte()}", 7946) for _ in range(count))
        self.driver.give(SeedsResolved(addresses))

    def command(self) -> None:
        """A client asks something."""
        info = self.feed.choice(COMMANDS)
        assert isinstance(info, inspect.StructType)
        params = {
            field.name: self._param(field.type)
            for field in info.fields
            if field.required or self.feed.byte() & 1
        }
        try:
            command = decode_command(str(info.tag), params)
        except LocalError:
            return
        assert not isinstance(command, Watch)
        self.driver.ask(self.feed.byte() % CLIENTS, command, self.feed.byte() & 1)

    def client_goes(self) -> None:
        """A client hangs up."""
        self.driver.hang_up(self.feed.byte() % CLIENTS)

    # Parts

    def _member(self) -> Peer:
        return self.cast.admin if self.feed.byte() & 1 else self.cast.member

    def _keys(self, peer: Peer) -> Any:  # noqa: ANN401  PairKeys
        links = self.links[peer.name]
        return links.keys(next(iter(links.routes)))

    def _say(self, peer: Peer, kind: int, body: bytes) -> None:
        links = self.links.get(peer.name)
        if links is None or len(body) > BODY_BYTES_MAX:
            return
        for data in links.seal(self.driver.now.instant, next(iter(links.routes)), [(kind, body)]):
            self.driver.give(DatagramReceived(data, peer.address))

    def _signed(self) -> SignedFact:
        """Return a fact by somebody: true in its form, or almost."""
        peer = self.cast.peers[min(self.feed.byte() % 8, 7) % 3]
        kind = self.feed.choice(CONTEXTS)
        facts = [self._fact(kind, peer)]
        if self.feed.byte() % 8 == 7:
            facts.append(self._fact(self.feed.choice(CONTEXTS), peer))
        signed = sign_batch(SUITE, peer.author.key, self.cast.mesh, facts)[-1]
        self.known.note(signed.id)
        return signed

    def _fact(self, kind: type[Fact], peer: Peer) -> Fact:
        values = list(self.feed.values(kind.LAYOUT, self.known))
        if self.feed.byte() & 1:
            return kind(*values)
        # The rules that no chance would satisfy.
        if kind is Spec:
            values[0] = TaskId(peer.author.id + values[0][16:])
        elif kind is Claim:
            values[3] = claim_rank(values[0], values[2], peer.author.id)
            values[7:9] = [None, None] if values[2] == 1 else values[7:9]
        elif kind is Result:
            values[3] = digest_of(values[2])
        elif kind is Verdict:
            accused = Accusation(*values[:3])
            values[5] = tuple(
                (one.author.public_key, one.author.sign([accused])[0].signed.signature)
                for one in self.cast.peers[: self.feed.byte() % 4]
            )
        return kind(*values)

    def _write_sealed(self, stream: Any) -> None:  # noqa: ANN401  StreamId
        peer, ours, sealed = self.sealed[stream]
        if sealed is None:
            theirs = bytes(self.driver.streams[stream][:RANDOM_BYTES])
            sealed = sealed_stream(SUITE, self._keys(peer), ours, theirs, FRAME_BYTES_MAX)
            self.sealed[stream] = (peer, ours, sealed)
        kind = self.feed.choice(MESSAGES)
        if kind.LAYOUT and self.feed.byte() & 1:
            body = kind(*self.feed.values(kind.LAYOUT, self.known)).encode()
        else:
            body = self.feed.chunk()
        data = sealed.seal(kind.KIND, body)
        cut = self.feed.byte() % (len(data) + 1)
        self.driver.write(stream, data[:cut])
        self.driver.write(stream, data[cut:])

    def _begin_join(self, stream: Any) -> None:  # noqa: ANN401  StreamId
        peer = self.cast.stranger
        parts = JoinParts(SUITE, peer.author.key, self.driver.node.setup.rng, START.wall)
        self.joiners[stream] = joiner = Joiner(parts, JoinWish("late", self.cast.ticket))
        self.driver.write(stream, JOIN_MARK + joiner.start().send)

    def _go_on_joining(self, stream: Any) -> None:  # noqa: ANN401  StreamId
        """Answer as the other side of a join would, or with something else."""
        heard = self.driver.streams[stream]
        data = bytes(heard)
        heard.clear()
        side: Joiner | Admitter
        if self.is_stranger:
            side = self.admitters.setdefault(stream, self._admitter())
            data = data.removeprefix(JOIN_MARK) if stream not in self.joiners else data
        else:
            side = self.joiners[stream]
        try:
            step = side.feed(data) if data else None
        except (RemoteError, LocalError):
            return
        answer = bytearray(b"" if step is None else step.send or step.after_commit)
        if self.feed.byte() % 8 == 7 and answer:
            answer[self.feed.uint(2) % len(answer)] ^= self.feed.byte()
        self.driver.write(stream, bytes(answer) or self.feed.chunk())

    def _admitter(self) -> Admitter:
        """Return the issuer of the ticket as the node that joins meets it."""
        people = self.cast
        founded = people.founded
        author = type(people.admin.author)(
            SUITE, people.node_key, people.admin.author.verifier,
            founded.certificate.signed.author, founded.certificate.author,
        )  # fmt: skip
        trust = Trust(people.mesh)
        trust.restore(founded.records)
        book = TicketBook(SUITE, people.mesh, author.public_key)
        book.restore(people.rows["ticket"])
        presences = (people.member.presence.signed,)
        rng = self.driver.node.setup.rng
        return Admitter(
            AdmitParts(author, trust, book, people.root, rng, START, Applicants(), presences)
        )

    def _param(self, kind: inspect.Type) -> Any:  # noqa: ANN401  JSON
        match kind:
            case inspect.Metadata(type=inner):
                return self._param(inner)
            case inspect.UnionType(types=types):
                return self._param(self.feed.choice(types))
            case inspect.VarTupleType(item_type=inner):
                return [self._param(inner) for _ in range(self.feed.byte() % 3)]
            case inspect.DictType(value_type=inner):
                return {
                    self.feed.choice(WORDS): self._param(inner) for _ in range(self.feed.byte() % 2)
                }
            case inspect.StrType():
                if self.feed.byte() < 208:
                    return self.feed.choice(self.known.texts)
                return self.feed.chunk().decode(errors="replace")
            case inspect.IntType():
                return self.feed.byte() if self.feed.byte() < 224 else self.feed.uint(8)
            case inspect.FloatType():
                return self.feed.byte() / 4 if self.feed.byte() < 224 else float(self.feed.uint(4))
            case inspect.BoolType():
                return bool(self.feed.byte() & 1)
            case _:
                return None


def _below(prefix: str, ids: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(id_ for id_ in ids if id_.hex().startswith(prefix))


def digest_of(output: bytes) -> bytes:
    """Return the digest that a result has to carry."""
    return hashlib.blake2b(output, digest_size=32).digest()


EVENTS: tuple[Callable[[Life], None], ...] = (
    Life.datagram,
    Life.echo,
    Life.hello,
    Life.raw_message,
    Life.message,
    Life.accuse,
    Life.facts,
    Life.stream,
    Life.stream_bytes,
    Life.stream_end,
    Life.stream_up,
    Life.commits,
    Life.commit_fails,
    Life.time,
    Life.wait,
    Life.oversleep,
    Life.resolved,
    Life.command,
    Life.client_goes,
    Life.facts,
    Life.facts,
    Life.command,
    Life.command,
    Life.commits,
    Life.probe,
    Life.compare,
    Life.compare,
    Life.work,
    Life.work,
    Life.work,
)
