"""The committed corpus: small valid inputs of every target, and every input that once found a bug.

python -m tests.fuzz.corpus      writes the valid inputs anew; found ones (`found-*`) stay
"""

import pathlib
from collections.abc import Iterator

import msgspec

from mesh.core.claims.facts import Claim, Progress, Spec
from mesh.core.claims.requests import Answer, StoredAnswer
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
)
from mesh.core.gossip.vocabulary import Family, Want
from mesh.core.lattice.fingerprint import Range
from mesh.core.links.hello import ASK, encode_hello
from mesh.core.membership.messages import Ack, Ping
from mesh.core.trust.exchange import JoinRefusal, JoinRequest
from mesh.core.trust.records import Certificate
from mesh.core.trust.tickets import ticket_text
from mesh.core.wire.codec import pack
from mesh.core.wire.envelope import SignedFact, Verifier, author_of, encode_batch
from mesh.core.wire.frame import Message, encode_frame
from tests.fuzz.cast import CREATED_S, SUITE, cast, sample_facts
from tests.fuzz.events import EVENTS, Life
from tests.fuzz.feed import Feed
from tests.fuzz.kinds import CONTEXTS, MESSAGES

ROOT = pathlib.Path(__file__).parent / "corpus"
FOUND = "found-"
Named = Iterator[tuple[str, bytes]]


def corpus_of(target: str) -> list[bytes]:
    """Return the committed inputs of a target, by name."""
    return [path.read_bytes() for path in sorted((ROOT / target).glob("*"))]


def _signed() -> list[SignedFact]:
    return [author.sign([fact])[0].signed for author, fact in sample_facts()]


def _facts() -> Named:
    for number, (_, fact) in enumerate(sample_facts()):
        name = fact.CONTEXT.replace("/", "-")
        yield f"{number:02}-{name}", bytes((CONTEXTS.index(type(fact)),)) + fact.encode()


def _messages() -> Iterator[tuple[str, Message]]:
    signed = _signed()
    items = tuple(Item(Form.SINGLE, one.encode()) for one in signed[:2])
    ids = tuple(one.id for one in signed[:4])
    short = tuple(id_[:8] for id_ in ids)
    ranges = (Range("0", 3, 99), Range("1a", 30, 1 << 60))
    lists = (IdList("", 7, 8, short),)
    made: list[Message] = [
        Ping(1, 2, 3),
        Ack(1, 2, 3),
        Push(Family.TASKS, (Section(1, 0, Want.DURABLE, items),)),
        PushAck(durable=True, entries=((1, 0), (2, 1))),
        PushObjection(1, 0),
        EagerFacts(Family.MEMBERS, items),
        Have(Family.TASKS, short),
        Pull(Family.TASKS, short),
        SyncRanges(Family.TASKS, ranges),
        SyncIds(Family.MEMBERS, lists),
        SyncWant(Family.MEMBERS, 32, ids),
    ]
    handled = {type(message) for message in made}
    life = Life(bytes(4000))
    made += [
        kind(*Feed(bytes(range(255)) * 9).values(kind.LAYOUT, life.known))
        for kind in MESSAGES
        if kind.LAYOUT and kind not in handled
    ]
    yield from ((type(message).__name__.lower(), message) for message in made)


def _datagrams() -> Named:
    frames = b"".join(
        encode_frame(message.KIND, message.encode())
        for name, message in _messages()
        if name in {"ping", "ack", "have"}
    )
    yield "plaintext", b"k\x05" + frames
    yield "datagram", b"\x01" + bytes(40)


def _batches() -> Named:
    author, _ = sample_facts()[7]
    facts = [fact for by, fact in sample_facts() if by is author]
    for count in (1, 2, 5):
        batch = [one.signed for one in author.sign((facts * 5)[:count])]
        data = encode_batch(batch)
        if len(data) < 2000:
            yield f"batch-{count}", data


def _chunks(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def _joins() -> Named:
    people = cast()
    request = JoinRequest(people.stranger.author.public_key, True, "late", bytes(64))
    yield "stranger", b"\x02" + _chunks(b"\x00\x07\x01\x95\x01")
    yield "honest", b"\x00"
    yield "request", b"\x01" + _chunks(request.encode())
    yield "name", b"\x01" + _chunks(b"r\x02", "späte".encode())
    yield "refusal", b"\x00\x00" + _chunks(JoinRefusal("expired").encode())


def _rows() -> Named:
    stored = msgspec.json.encode(StoredAnswer(1.0, "no hex", Answer({"copies": 1})))
    yield "whole", b""
    yield "other-boot", b"\x00\x03\x00" + _chunks(b"\xff" * 8)
    yield "no-mesh", b"\x01\x01\x00\x00\x05"
    yield "flipped-fact", b"\x04\x02\x03\x00\x40\x01"
    yield "new-fact", b"\x04\x00" + _chunks(b"k" * 32, b"\x01" + _signed()[8].encode())
    yield "handle", b"\x05\x03\x00" + _chunks(msgspec.msgpack.encode([[], {}, 1, 2]))
    yield "agent", b"\x05\x02\x00\x00\x50\x01"
    yield "answer", b"\x06\x02\x00\x00\x30\x07"
    yield "request", b"\x06\x00" + _chunks(b"key", stored)


def _lines() -> Iterator[tuple[str, str]]:
    methods = {
        "hello": "",
        "node.info": '"node":"node"',
        "member.list": '"status":"alive|dead","tags":{"zone":"a"}',
        "member.wait": '"members":3,"wait_s":2.5',
        "trust.invite": '"uses":2,"ttl_s":60',
        "agent.attach": '"name":"ag\u00e9nt","kinds":["build"],"capacity":2',
        "task.submit": '"kind":"build","payload":"aGk=","request_id":"r1"',
        "task.claim": '"kinds":["build"],"wait_s":1,"agent":"a"',
        "task.wait": '"task":"1-1-00112233445566778899aabbccddeeff"',
        "task.complete": '"handle":"0123456789abcdef","output":"aGk="',
        "watch": '"topics":["task","*"]',
    }
    for method, params in methods.items():
        line = f'{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}}}}}'
        yield method.replace(".", "-"), line


def _lives() -> Named:
    """Lives in which everything happens, each event after the other, with other choices."""
    for number in range(1, 9):
        choices = bytes((17 * number * at + at // 7) % 251 for at in range(24))
        events = [bytes((at, 0, 24)) + choices for at in range(len(EVENTS))]
        yield f"everything-{number}", bytes((number % 8,)) + b"".join(events)


def _certificates() -> Named:
    """Papers of one owner, and of two."""
    people = cast()
    founded = people.founded
    founder = author_of(SUITE, people.node_key, Verifier(SUITE, people.mesh))
    admitted = [
        founder.sign([Certificate(peer.author.public_key, CREATED_S, 0)])[0]
        for peer in (people.member, people.admin)
    ]
    records = tuple(each.signed.encode() for each in (*founded.records, *admitted))
    facts = {
        each.fact: each.signed.encode()
        for each in (author.sign([fact])[0] for author, fact in sample_facts())
        if isinstance(each.fact, Spec | Claim | Progress)
    }
    spec, first, _, given_up, second = facts.values()
    yield "one", pack((records, (spec, first)))
    yield "two", pack((records, (spec, first, given_up, second)))
    yield "alone", pack((records, (second,)))


def generated() -> Iterator[tuple[str, str, bytes]]:
    """Yield (target, name, input) of every valid input."""
    signed = _signed()
    items = [Item(Form.SINGLE, one.encode()) for one in signed[:2]]
    ticket = ticket_text(cast().ticket).encode()
    parts: dict[str, Named] = {
        "hello": iter(
            [
                ("own", encode_hello(cast().mesh, ASK, [one.encode() for one in signed[2:4]])),
                ("keyed", b"k\x00\x03\x92\x01\x90"),
            ]
        ),
        "sealed": _datagrams(),
        "stream": iter([("two", b"\x01\x16" + _chunks(b"body") + b"\x00\x05\x00" + _chunks(b""))]),
        "signed_fact": ((f"{at:02}", one.encode()) for at, one in enumerate(signed)),
        "batch": _batches(),
        "items": iter([("two", b"".join(item.encode() for item in items))]),
        "fact": _facts(),
        "message": (
            (name, bytes((MESSAGES.index(type(message)),)) + message.encode())
            for name, message in _messages()
        ),
        "admitter": _joins(),
        "joiner": _joins(),
        "join_record": iter([("refusal", b"\x03" + JoinRefusal("expired").encode())]),
        "certificate": _certificates(),
        "ticket": iter([("whole", ticket), ("wrapped", ticket[:40] + b"\n  " + ticket[40:])]),
        "rows": _rows(),
        "control": ((name, line.encode()) for name, line in _lines()),
        "command": ((name, line.encode()) for name, line in _lines()),
        "node": _lives(),
    }
    for target, named in parts.items():
        for name, data in named:
            yield target, name, data


def write() -> None:
    """Write the valid inputs anew."""
    for path in ROOT.glob("*/*"):
        if not path.name.startswith(FOUND):
            path.unlink()
    for target, name, data in generated():
        (ROOT / target).mkdir(parents=True, exist_ok=True)
        (ROOT / target / name).write_bytes(data)


if __name__ == "__main__":
    write()
