"""Messages: pinned bytes, one length, and no other error than RemoteError."""

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, Incarnation, NodeId
from mesh.core.membership.messages import (
    ACCUSATION_BYTES_MAX,
    Accuse,
    Ack,
    Ask,
    Ping,
    Vouch,
    Withdraw,
)
from mesh.core.wire.frame import Message

REMARK = (NodeId(b"s" * 16), Boot(7), Incarnation(2))


@pytest.mark.parametrize(
    "message",
    [
        Ping(1, 2, 3),
        Ack(2**32 - 1, 2**64 - 1, 0),
        Accuse(b"signed"),
        Vouch(*REMARK),
        Withdraw(*REMARK),
        Ask(*REMARK),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_encoded_decodes(message: Message) -> None:
    assert type(message).decode_untrusted(message.encode()) == message


def test_kinds_are_distinct_and_in_range() -> None:
    kinds = [kind.KIND for kind in (Ping, Ack, Accuse, Vouch, Withdraw, Ask)]
    assert kinds == [1, 2, 3, 4, 5, 6]


def test_a_ping_is_twenty_pinned_bytes() -> None:
    assert Ping(1, 2, 3).encode().hex() == "00000001" + "0000000000000002" + "0000000000000003"


@pytest.mark.parametrize("data", [b"", b"x" * 19, b"x" * 21])
def test_a_beat_of_another_length_is_refused(data: bytes) -> None:
    for kind in (Ping, Ack):
        with pytest.raises(RemoteError) as refused:
            kind.decode_untrusted(data)
        assert refused.value.refusal is Refusal.MALFORMED


def test_an_accusation_is_bounded() -> None:
    Accuse.decode_untrusted(Accuse(b"x" * ACCUSATION_BYTES_MAX).encode())
    with pytest.raises(RemoteError):
        Accuse.decode_untrusted(Accuse(b"x" * (ACCUSATION_BYTES_MAX + 1)).encode())
