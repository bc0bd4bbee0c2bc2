"""Messages: what was packed comes back, and foreign bytes raise RemoteError or nothing."""

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip import messages
from mesh.core.gossip.items import Form, Item, decode_items_untrusted
from mesh.core.gossip.vocabulary import Family, Want
from mesh.core.lattice.fingerprint import Range
from mesh.core.wire.frame import BODY_BYTES_MAX, Message

ITEM = Item(Form.SINGLE, b"i" * 100)
EXAMPLES: list[Message] = [
    messages.Push(
        Family.TASKS,
        (
            messages.Section((1 << 48) - 1, 65_535, Want.DURABLE, (ITEM, ITEM)),
            messages.Section(0, 0, Want.NOTHING, (Item(Form.BATCH, b"b" * 96),)),
        ),
    ),
    messages.PushAck(durable=True, entries=((1 << 47, 3), (0, 65_535))),
    messages.PushObjection((1 << 48) - 1, 65_535),
    messages.EagerFacts(Family.MEMBERS, (ITEM,)),
    messages.PulledFacts(Family.MEMBERS, ()),
    messages.ToldFacts(Family.TASKS, (ITEM,)),
    messages.SyncFacts(Family.TASKS, (ITEM, ITEM)),
    messages.Have(Family.TASKS, (b"12345678", b"abcdefgh")),
    messages.Pull(Family.MEMBERS, ()),
    messages.SyncRanges(Family.TASKS, (Range("", 0, 0),)),
    messages.SyncRanges(Family.TASKS, (Range("a", 5, 1 << 63), Range("b0f", 1, 1))),
    messages.SyncIds(Family.TASKS, (messages.IdList("61", 7, 8, (b"a" * 8,)),)),
    messages.SyncIds(Family.TASKS, (messages.IdList("6", 7, 32, (b"a" * 32,)),)),
    messages.SyncWant(Family.MEMBERS, 8, (b"a" * 8,)),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back(message: Message) -> None:
    assert type(message).decode_untrusted(message.encode()) == message
    assert 20 <= message.KIND <= 49


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_cut_or_spoilt_bytes_raise_nothing_but_remote_errors(message: Message) -> None:
    data = message.encode()
    spoilt = [data[:end] for end in range(len(data))] + [data + b"\xff"]
    spoilt += [data[:at] + b"\xff" + data[at + 1 :] for at in range(len(data))]
    for body in spoilt:
        try:
            decoded = type(message).decode_untrusted(body)
        except RemoteError:
            continue
        assert decoded.encode() == body, "one message, one encoding"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (messages.EagerFacts, b"\2"),
        (messages.EagerFacts, b"\0\2\0\x60" + bytes(96)),
        (messages.EagerFacts, b"\0\0\0\x5f" + bytes(95)),
        (messages.Push, b"\0" + bytes(9) + b"\0\0"),
        (messages.Push, b"\0" + bytes(8) + b"\3\0\0"),
        (messages.PushAck, b"\2"),
        (messages.PushAck, b"\0" + bytes(7)),
        (messages.PushObjection, bytes(7)),
        (messages.PushObjection, bytes(9)),
        (messages.Have, b"\0" + bytes(7)),
        (messages.SyncRanges, b"\0\x41" + bytes(50)),
        (messages.SyncRanges, b"\0\1\xab" + bytes(12)),
        (messages.SyncIds, b"\0\1\xa0" + bytes(8) + b"\x08\0\1" + bytes(8)),
        (messages.SyncIds, b"\0\0" + bytes(8) + b"\x09\0\0"),
        (messages.SyncWant, b"\0\x10" + bytes(16)),
    ],
)
def test_what_breaks_a_rule_is_refused(kind: type[Message], body: bytes) -> None:
    with pytest.raises(RemoteError) as refused:
        kind.decode_untrusted(body)
    assert refused.value.refusal is Refusal.MALFORMED


def test_lists_of_short_ids_fit_a_datagram() -> None:
    full = messages.Have(Family.TASKS, (b"12345678",) * ((BODY_BYTES_MAX - 1) // 8))
    assert messages.Have.decode_untrusted(full.encode()) == full
    with pytest.raises(RemoteError) as refused:
        messages.Have.decode_untrusted(full.encode() + b"12345678")
    assert refused.value.refusal is Refusal.TOO_LARGE


def test_no_items_are_no_error_but_half_a_header_is() -> None:
    assert decode_items_untrusted(b"") == []
    with pytest.raises(RemoteError):
        decode_items_untrusted(b"\0")
