"""What is fuzzed: one function per door, each with one oracle, for any bytes at all.

Foreign bytes are refused with RemoteError, callers' mistakes with LocalError, and what is accepted
re-encodes to the very bytes it came from. A node never raises; see `driver` for what else holds.
"""

import hashlib
import random
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import msgspec

from mesh.control.framing import (
    LINE_BYTES_MAX,
    BadRequest,
    LineSplitter,
    error_line,
    parse_request,
    result_line,
    split_bundle,
)
from mesh.control.messages import Watch, decode_command
from mesh.core.commands import TaskClaim, TaskStart, TaskSubmit
from mesh.core.crypto.suite import LinkKey
from mesh.core.effects import CommitNumber
from mesh.core.errors import LocalError, RemoteError
from mesh.core.fence_proof import PREFIX, decode_certificate_untrusted
from mesh.core.gossip.items import decode_item_untrusted, decode_items_untrusted
from mesh.core.identity import Boot, NodeId
from mesh.core.inputs import CommitDone
from mesh.core.links.cookie import decode_cookie_untrusted, encode_cookie
from mesh.core.links.hello import HELLO_BYTES, VERSION_HELLO, decode_hello_untrusted, encode_hello
from mesh.core.links.links import Links
from mesh.core.links.session import LinkEnd, seal_datagram
from mesh.core.links.stream import sealed_stream
from mesh.core.params import LinkParams
from mesh.core.trust.applicants import Applicants
from mesh.core.trust.exchange import (
    Introduction,
    JoinGrant,
    JoinRefusal,
    JoinRequest,
    Kind,
    encode_join_frame,
)
from mesh.core.trust.joining import AdmitParts, Admitter, Joiner, JoinParts, JoinWish
from mesh.core.trust.tickets import TICKET_TEXT_MAX, TicketBook, parse_ticket, ticket_text
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import (
    Author,
    Verifier,
    author_of,
    decode_batch_untrusted,
    decode_signed_fact_untrusted,
    encode_batch,
)
from mesh.core.wire.frame import decode_echo, encode_echo, encode_frame
from tests.fuzz.cast import SUITE, cast, make_node
from tests.fuzz.driver import START, Driver
from tests.fuzz.events import Life
from tests.fuzz.feed import Feed
from tests.fuzz.kinds import CONTEXTS, MESSAGES

FRAMES_MAX = 16
ROWS_MAX = 12
ROW_KINDS = ("boot", "mesh", "root_key", "ticket", "fact", "handle", "request", "denied")


# ---- datagrams


def fuzz_hello(data: bytes) -> None:
    """A greeting or a cookie: any datagram, or a greeting that is keyed by the mesh id."""
    mesh = cast().mesh
    if data[:1] == b"k":
        rest = data[1:].ljust(HELLO_BYTES - 17, b"\0")[: HELLO_BYTES - 17]
        check = hashlib.blake2b(rest, digest_size=16, key=mesh).digest()
        data = bytes((VERSION_HELLO,)) + check + rest
    with suppress(RemoteError):
        kind, facts = decode_hello_untrusted(mesh, data)
        assert encode_hello(mesh, kind, [fact.encode() for fact in facts])[1:] == data[1:]
    with suppress(RemoteError):
        assert encode_cookie(mesh, decode_cookie_untrusted(mesh, data))[1:] == data[1:]


def _link() -> tuple[Links, Links, NodeId]:
    """Return two ends of a link, and the id of the first."""
    mesh, params = cast().mesh, LinkParams()
    ends = [(LinkKey(bytes((number,)) * 32), NodeId(bytes((number,)) * 16)) for number in (1, 2)]
    made = [LinkEnd(id_, Boot(5), SUITE.link_public(key)) for key, id_ in ends]
    sides = [Links(SUITE, mesh, made[at], ends[at][0], params) for at in range(2)]
    address = cast().admin.address
    sides[0].learn(made[1], address)
    sides[1].learn(made[0], address)
    return sides[0], sides[1], made[0].id


def fuzz_sealed(data: bytes) -> None:
    """A sealed datagram: any bytes, or any plaintext by somebody who has the keys."""
    ours, theirs, sender = _link()
    if data[:1] == b"k":
        plaintext, session = data[1:], ours.routes[NodeId(bytes((2,)) * 16)].session
        data = seal_datagram(SUITE, session, 1, plaintext)
    else:
        plaintext = b""
    with suppress(RemoteError):
        opened = theirs.open_untrusted(START.instant, data, cast().admin.address)
        assert opened.peer == sender
        assert b"".join(encode_frame(*frame) for frame in opened.frames) == plaintext[1:]
        assert decode_echo(encode_echo(opened.echo_age_s)) is None or opened.echo_age_s is not None


def fuzz_stream(data: bytes) -> None:
    """The bytes of a sealed stream, cut anywhere: any, or any messages by the peer."""
    ours, theirs, _ = _link()
    feed = Feed(data)
    keys = [side.keys(next(iter(side.routes))) for side in (ours, theirs)]
    assert keys[0] is not None
    assert keys[1] is not None
    sender = sealed_stream(SUITE, keys[0], b"d" * 32, b"a" * 32, 4096)
    receiver = sealed_stream(SUITE, keys[1], b"d" * 32, b"a" * 32, 4096)
    with suppress(RemoteError):
        for _ in range(FRAMES_MAX):
            if not feed:
                break
            if feed.byte() & 1:
                kind, body = feed.byte(), feed.chunk()
                sent = sender.seal(kind, body)
                cut = feed.uint(2) % (len(sent) + 1)
                heard = receiver.receive_untrusted(sent[:cut])
                heard += receiver.receive_untrusted(sent[cut:])
                assert heard == [(kind, body)] or receiver.buffer
            else:
                receiver.receive_untrusted(feed.chunk())
            assert len(receiver.buffer) <= 4096 + 64 + len(data)


# ---- envelopes, facts, messages


def fuzz_signed_fact(data: bytes) -> None:
    """A fact alone."""
    mesh = cast().mesh
    with suppress(RemoteError):
        signed = decode_signed_fact_untrusted(data, mesh)
        assert signed.encode() == data
        Verifier(SUITE, mesh).check(signed)


def fuzz_batch(data: bytes) -> None:
    """A whole batch."""
    mesh = cast().mesh
    with suppress(RemoteError):
        batch = decode_batch_untrusted(data, mesh)
        assert encode_batch(batch) == data
        verifier = Verifier(SUITE, mesh)
        for signed in batch:
            alone = decode_signed_fact_untrusted(signed.encode(), mesh)
            assert alone == signed
            verifier.check(signed)


def fuzz_items(data: bytes) -> None:
    """Facts and batches, one after another, as gossip carries them."""
    with suppress(RemoteError):
        items = decode_items_untrusted(data)
        assert b"".join(item.encode() for item in items) == data
        for item in items:
            with suppress(RemoteError):
                facts = decode_item_untrusted(item, cast().mesh)
                again = encode_batch(facts) if item.form else facts[0].encode()
                assert again == item.data


def fuzz_fact(data: bytes) -> None:
    """The payload of every context; the first byte says which."""
    kind = CONTEXTS[data[0] % len(CONTEXTS)] if data else CONTEXTS[0]
    with suppress(RemoteError):
        assert kind.decode_untrusted(data[1:]).encode() == data[1:]


def fuzz_message(data: bytes) -> None:
    """The body of every message; the first byte says which."""
    kind = MESSAGES[data[0] % len(MESSAGES)] if data else MESSAGES[0]
    with suppress(RemoteError):
        assert kind.decode_untrusted(data[1:]).encode() == data[1:]


# ---- joining


class Plain(NamedTuple):
    """Stands for a record, and encodes to anything."""

    data: bytes

    def encode(self) -> bytes:
        """Return those bytes."""
        return self.data


def _founder(verifier: Verifier) -> Author:
    return author_of(SUITE, cast().node_key, verifier)


def _admitter() -> Admitter:
    people = cast()
    author = _founder(Verifier(SUITE, people.mesh))
    trust = Trust(people.mesh)
    trust.restore(people.founded.records)
    book = TicketBook(SUITE, people.mesh, author.public_key)
    book.restore(people.rows["ticket"])
    contacts = (people.admin.presence.signed, people.member.presence.signed)
    rng = random.Random(3)
    parts = AdmitParts(author, trust, book, people.root, rng, START, Applicants(), contacts)
    return Admitter(parts)


def _joiner() -> Joiner:
    people = cast()
    parts = JoinParts(SUITE, people.stranger.author.key, random.Random(4), START.wall)
    return Joiner(parts, JoinWish("late", people.ticket))


def _feed_all(side: Joiner | Admitter, feed: Feed) -> None:
    for _ in range(FRAMES_MAX):
        if not feed:
            break
        step = side.feed(feed.chunk())
        assert len(step.send) <= 1 << 15


def fuzz_admitter(data: bytes) -> None:
    """A stranger at the issuer's door: any bytes, or any request by who has the ticket."""
    issuer, feed = _admitter(), Feed(data)
    how = feed.byte() % 4
    with suppress(RemoteError):
        if how < 2:
            joiner = _joiner()
            answer = issuer.feed(joiner.start().send)
            request = joiner.feed(answer.send).send
            if how == 1:
                # The request again, with another content under the right keys.
                joiner = _joiner()
                issuer = _admitter()
                answer = issuer.feed(joiner.start().send)
                request = _as_joiner(joiner, answer.send, feed)
            step = issuer.feed(request)
            assert step.finished
            assert step.send or step.after_commit
        _feed_all(issuer, feed)


def _as_joiner(joiner: Joiner, answer: bytes, feed: Feed) -> bytes:
    """Return a sealed request of any content, by somebody who knows the ticket."""
    sealed: list[bytes] = []
    channel = joiner._channel
    plain = feed.chunk()
    honest = channel.seal

    def seal(kind: Kind, record: Any) -> bytes:  # noqa: ANN401  a Record
        if plain[:1] == b"r":
            values = list(JoinRequest.__match_args__)
            changed = [getattr(record, name) for name in values]
            changed[plain[1] % len(changed) if len(plain) > 1 else 0] = feed.chunk()
            with suppress(TypeError, UnicodeDecodeError):
                record = Plain(JoinRequest(*changed).encode())
        else:
            record = Plain(plain)
        sealed.append(honest(kind, record))
        return sealed[-1]

    channel.seal = seal  # type: ignore[method-assign]  # the attacker's own channel
    joiner.feed(answer)
    return encode_join_frame(Kind.REQUEST, sealed[-1])


def fuzz_joiner(data: bytes) -> None:
    """An issuer at the joiner's: any bytes, or any answer by who has the ticket's key."""
    joiner, feed = _joiner(), Feed(data)
    hello = joiner.start().send
    how = feed.byte() % 4
    with suppress(RemoteError, LocalError):
        if how < 2:
            issuer = _admitter()
            if how == 1:
                honest = issuer._introduce
                issuer._introduce = lambda: _lie(honest(), feed)  # type: ignore[method-assign]  # a liar
            request = joiner.feed(issuer.feed(hello).send).send
            joiner.feed(_as_issuer(issuer, request, feed))
        _feed_all(joiner, feed)


def _lie(honest: Introduction, feed: Feed) -> Introduction:
    """Return an introduction that is true in part, by an issuer whom the ticket names."""
    changed = [feed.chunk() for _ in range(feed.byte() % 3)]
    if feed.byte() & 1:
        return replace(honest, genesis=feed.chunk() or honest.genesis)
    return replace(honest, admins=(*honest.admins, *changed))


def _as_issuer(issuer: Admitter, request: bytes, feed: Feed) -> bytes:
    """Return a sealed grant or refusal of any content."""
    channel = issuer._channel
    channel.unseal_untrusted(Kind.REQUEST, request[3:])
    kind, record = Kind.GRANT if feed.byte() & 1 else Kind.REFUSAL, feed.chunk()
    if feed.byte() & 1:
        chain = [record.signed.encode() for record in cast().founded.records]
        record = JoinGrant((*chain, record), (feed.chunk(),)).encode()
    return encode_join_frame(kind, channel.seal(kind, Plain(record)))  # type: ignore[arg-type]  # any bytes


def fuzz_join_record(data: bytes) -> None:
    """What is sealed inside the frames of a join."""
    kinds = (Introduction, JoinRequest, JoinGrant, JoinRefusal)
    kind = kinds[data[0] % len(kinds)] if data else kinds[0]
    with suppress(RemoteError):
        assert kind.decode_untrusted(data[1:]).encode() == data[1:]


# ---- what people and disks hand over


def fuzz_certificate(data: bytes) -> None:
    """What a resource is shown as the proof of a claim."""
    with suppress(RemoteError):
        decode_certificate_untrusted(certificate_text(data), cast().mesh, SUITE)


def certificate_text(data: bytes) -> str:
    """Return the text of a fence certificate that holds these bytes."""
    return PREFIX + urlsafe_b64encode(data).rstrip(b"=").decode()


def fuzz_ticket(data: bytes) -> None:
    """The text of a ticket."""
    text = data.decode(errors="replace")
    with suppress(LocalError):
        ticket = parse_ticket(text)
        assert ticket_text(ticket) == "".join(text.split())
        assert len(text) <= 2 * TICKET_TEXT_MAX or not text[2 * TICKET_TEXT_MAX :].strip()


@cache
def lived_rows() -> dict[str, dict[bytes, bytes]]:
    """Return what a node leaves on disk that has worked for a while."""
    driver = Driver(make_node(cast().rows))
    driver.start()
    driver.commit()
    driver.ask(1, TaskSubmit("build", request_id="submit", copies=1))
    driver.ask(1, TaskSubmit("build", copies=1))
    for detached in (True, False):
        driver.ask(1, TaskClaim(kinds=("build",), detached=detached, request_id=f"{detached}"))
        for _ in range(20):
            driver.commit()
            driver.wait()
        handle = next(
            r["handle"] for r in driver.results[::-1] if isinstance(r, dict) if "handle" in r
        )
        driver.ask(1, TaskStart(str(handle)))
        driver.commit()
    assert {"handle", "request", "fact"} <= driver.rows.keys()
    return driver.rows


def fuzz_rows(data: bytes) -> None:
    """A whole node on rows that a disk has damaged."""
    feed = Feed(data)
    rows = {kind: dict(held) for kind, held in lived_rows().items()}
    for _ in range(ROWS_MAX):
        if not feed:
            break
        kind = feed.choice(ROW_KINDS)
        held = rows.setdefault(kind, {})
        keys = list(held)
        how = feed.byte() % 4
        if how == 0 or not keys:
            key, value = feed.chunk(), feed.chunk()
            held[key] = value
            continue
        key = feed.choice(keys)
        if how == 1:
            held[key] = held[key][: feed.uint(2)]
        elif how == 2 and held[key]:
            flipped = bytearray(held[key])
            flipped[feed.uint(2) % len(flipped)] ^= feed.byte()
            held[key] = bytes(flipped)
        else:
            held[key] = feed.chunk()
    driver = Driver(make_node(rows))
    driver.start()
    driver.give(CommitDone(CommitNumber(1)))
    driver.commits.clear()
    driver.come_to_rest()


# ---- the control socket


def fuzz_control(data: bytes) -> None:
    """Lines of a client, cut anywhere: requests, and the commands in them."""
    splitter = LineSplitter(LINE_BYTES_MAX)
    cut = data[0] % len(data) if data else 0
    lines = splitter.receive(data[:cut]) + splitter.receive(data[cut:] + b"\n")
    for line in lines:
        assert line is None or b"\n" not in line
        try:
            requests = split_bundle(line or b"")
        except BadRequest as wrong:
            _is_json(error_line(wrong.id, wrong))
            continue
        for each in [line or b""] if requests is None else requests:
            _ask(each)


def _ask(line: bytes) -> None:
    try:
        request = parse_request(line)
    except BadRequest as wrong:
        _is_json(error_line(wrong.id, wrong))
        return
    _is_json(result_line(request.id, None))
    try:
        command = decode_command(request.method, request.params)
    except LocalError as wrong:
        _is_json(error_line(request.id, wrong))
        return
    again = msgspec.to_builtins(command)
    assert decode_command(again.pop("type"), again) == command


def _is_json(line: bytes) -> None:
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    msgspec.json.decode(line)


def fuzz_command(data: bytes) -> None:
    """One request of a client to a whole node."""
    try:
        request = parse_request(data)
        command = decode_command(request.method, request.params)
    except LocalError:
        return
    if isinstance(command, Watch):
        return
    driver = Driver(make_node(cast().rows))
    driver.start()
    driver.commit()
    driver.ask(1, command)
    driver.come_to_rest()


def fuzz_node(data: bytes) -> None:
    """A whole node, from its start to years later."""
    Life(data).live()


TARGETS: dict[str, Callable[[bytes], None]] = {
    name.removeprefix("fuzz_"): function
    for name, function in sorted(globals().items())
    if name.startswith("fuzz_")
}
