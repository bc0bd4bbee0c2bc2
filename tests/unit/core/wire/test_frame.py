"""What one datagram carries."""

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.wire.codec import Uint
from mesh.core.wire.frame import (
    BODY_BYTES_MAX,
    DATAGRAM_BYTES_MAX,
    ECHO_NEVER,
    ECHO_STEP_S,
    FRAME_HEADER_BYTES,
    PLAINTEXT_BYTES_MAX,
    RELAY_BYTES,
    Message,
    decode_echo,
    decode_frames_untrusted,
    encode_echo,
    encode_frame,
)

ECHO = b"\x00"
FRAMES = [(1, b""), (255, b"body"), (7, bytes(BODY_BYTES_MAX))]


@pytest.mark.parametrize("frames", [FRAMES[:1], FRAMES[1:], FRAMES, FRAMES[:1] * 400])
def test_frames_come_out_as_they_went_in(frames: list[tuple[int, bytes]]) -> None:
    plaintext = ECHO + b"".join(encode_frame(kind, body) for kind, body in frames)
    assert decode_frames_untrusted(plaintext) == frames


def test_a_frame_is_kind_length_and_body() -> None:
    assert encode_frame(7, b"body") == b"\x07\x00\x04body"


def test_a_cut_plaintext_is_refused_as_a_whole() -> None:
    first = encode_frame(1, b"one")
    plaintext = ECHO + first + encode_frame(2, b"second")
    whole = {0: None, len(ECHO + first): [(1, b"one")], len(plaintext): None}
    for length in range(len(plaintext)):
        if whole.get(length):
            assert decode_frames_untrusted(plaintext[:length]) == whole[length]
            continue
        with pytest.raises(RemoteError) as refused:
            decode_frames_untrusted(plaintext[:length])
        assert refused.value.refusal is Refusal.MALFORMED


def test_a_length_beyond_the_end_is_refused() -> None:
    with pytest.raises(RemoteError):
        decode_frames_untrusted(ECHO + b"\x01\x00\x05body")
    with pytest.raises(RemoteError):
        decode_frames_untrusted(ECHO + b"\x01\xff\xff")


def test_a_datagram_holds_the_greatest_body_even_inside_another_one() -> None:
    assert PLAINTEXT_BYTES_MAX + 17 + 16 == DATAGRAM_BYTES_MAX, "header and tag"
    assert len(ECHO) + FRAME_HEADER_BYTES + BODY_BYTES_MAX + RELAY_BYTES == PLAINTEXT_BYTES_MAX


def test_an_echo_is_never_younger_than_the_evidence() -> None:
    for tenths in range(400):
        age_s = tenths / 15
        echo = decode_echo(encode_echo(age_s))
        if echo is None:
            assert age_s >= (ECHO_NEVER - 1) * ECHO_STEP_S
        else:
            assert age_s <= echo <= age_s + ECHO_STEP_S + 1e-9
    assert encode_echo(None) == ECHO_NEVER
    assert decode_echo(ECHO_NEVER) is None
    assert encode_echo(0.0) < ECHO_NEVER
    assert encode_echo(1e9) == ECHO_NEVER


def test_a_message_is_a_record_with_a_kind() -> None:
    assert Message.KIND == 0
    assert Message().encode() == b"\x90"
    assert Message.decode_untrusted(b"\x90") == Message()
    with pytest.raises(RemoteError):
        Message.decode_untrusted(b"\x91\x00")
    Uint(8).check(Message.KIND)
