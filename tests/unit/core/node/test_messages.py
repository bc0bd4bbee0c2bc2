"""What is passed on for others fits one more datagram."""

import pytest

from mesh.core.crypto.suite import TAG_BYTES
from mesh.core.errors import RemoteError
from mesh.core.identity import NodeId
from mesh.core.links.path import QUESTION_BYTES
from mesh.core.links.session import HEADER_BYTES
from mesh.core.node.messages import RELAYED_BYTES_MAX, PathAnswer, PathAsk, Relay, Relayed
from mesh.core.wire.frame import DATAGRAM_BYTES_MAX, PLAINTEXT_BYTES_MAX, encode_frame

NODE = NodeId(b"n" * 16)


def test_the_largest_relayed_datagram_fits_into_another_one() -> None:
    largest = b"d" * RELAYED_BYTES_MAX
    for message in (Relay(NODE, largest), Relayed(largest)):
        frame = encode_frame(message.KIND, message.encode())
        assert 1 + len(frame) <= PLAINTEXT_BYTES_MAX
        assert HEADER_BYTES + 1 + len(frame) + TAG_BYTES <= DATAGRAM_BYTES_MAX


def test_a_larger_one_is_refused() -> None:
    Relay.decode_untrusted(Relay(NODE, b"d" * RELAYED_BYTES_MAX).encode())
    for message in (Relay(NODE, b"d" * (RELAYED_BYTES_MAX + 1)), Relayed(b"d" * 1200)):
        with pytest.raises(RemoteError):
            message.decode_untrusted(message.encode())


def test_a_question_costs_what_its_datagram_has_and_is_answered_with_as_much() -> None:
    for message in (PathAsk(b"t" * 8), PathAnswer(b"t" * 8)):
        frame = encode_frame(message.KIND, message.encode())
        assert HEADER_BYTES + 1 + len(frame) + TAG_BYTES == QUESTION_BYTES
        assert type(message).decode_untrusted(message.encode()) == message
    for wrong in (b"", b"t" * 8, PathAsk(b"t" * 7).encode(), PathAsk(b"t" * 9).encode()):
        with pytest.raises(RemoteError):
            PathAsk.decode_untrusted(wrong)
