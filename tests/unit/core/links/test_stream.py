"""Sealed streams: cut anywhere, bounded, useless when recorded."""

import pytest

from mesh.core.crypto.primitives import RealSuite
from mesh.core.errors import Refusal, RemoteError
from mesh.core.links.session import PairKeys
from mesh.core.links.stream import SealedStream, sealed_stream

SUITE = RealSuite()
OUT = PairKeys(b"1" * 32, b"2" * 32, b"a" * 8, b"b" * 8)
BACK = PairKeys(b"2" * 32, b"1" * 32, b"b" * 8, b"a" * 8)


def both_ends(dialler: bytes = b"d" * 32) -> tuple[SealedStream, SealedStream]:
    return (
        sealed_stream(SUITE, OUT, dialler, b"r" * 32, 1000),
        sealed_stream(SUITE, BACK, dialler, b"r" * 32, 1000),
    )


@pytest.mark.parametrize("step", [1, 3, 7, 10_000])
def test_messages_come_out_whole_however_the_bytes_are_cut(step: int) -> None:
    one, two = both_ends()
    data = one.seal(20, b"first") + one.seal(21, b"") + one.seal(22, b"x" * 999)
    got = []
    for at in range(0, len(data), step):
        got += two.receive_untrusted(data[at : at + step])
    assert got == [(20, b"first"), (21, b""), (22, b"x" * 999)]


def test_a_recorded_stream_opens_nothing_under_another_random_string() -> None:
    one, _ = both_ends()
    _, two = both_ends(b"e" * 32)
    with pytest.raises(RemoteError):
        two.receive_untrusted(one.seal(20, b"again"))


def test_frames_out_of_order_or_twice_are_refused() -> None:
    one, two = both_ends()
    first, second = one.seal(20, b"1"), one.seal(20, b"2")
    with pytest.raises(RemoteError):
        two.receive_untrusted(second)
    one, two = both_ends()
    first = one.seal(20, b"1")
    two.receive_untrusted(first)
    with pytest.raises(RemoteError):
        two.receive_untrusted(first)


def test_a_frame_over_the_bound_is_refused_before_it_is_buffered() -> None:
    _, two = both_ends()
    with pytest.raises(RemoteError) as refused:
        two.receive_untrusted((1000 + 16 + 2).to_bytes(4, "big"))
    assert refused.value.refusal is Refusal.TOO_LARGE
