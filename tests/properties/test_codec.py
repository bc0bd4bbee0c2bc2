"""Whatever bytes come in: they are refused, or they are the one spelling of a value."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.errors import RemoteError
from mesh.core.identity import MeshId
from mesh.core.trust.exchange import FrameReader
from mesh.core.wire.codec import Layout, Record, pack, unpack_untrusted
from mesh.core.wire.envelope import (
    Verifier,
    decode_batch_untrusted,
    decode_signed_fact_untrusted,
    encode_batch,
    sign_batch,
)
from mesh.core.wire.frame import decode_frames_untrusted, encode_frame
from tests.unit.core.wire.layouts import LAYOUTS, RECORDS, values

MESH = MeshId(b"m" * 32)
SUITE = RealSuite()
layouts = st.sampled_from(sorted(LAYOUTS)).map(LAYOUTS.__getitem__)
# Anything msgpack can say, so that most of it reaches the walk through the layout.
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=70)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def refused_or_canonical(data: bytes, layout: Layout) -> bool:
    try:
        fields = unpack_untrusted(data, layout)
    except RemoteError:
        return False
    assert pack(fields) == data
    return True


@settings(deadline=None)
@given(data=st.data(), layout=layouts)
def test_what_fits_a_layout_survives(data: st.DataObject, layout: Layout) -> None:
    fields = data.draw(st.tuples(*map(values, layout)))
    assert unpack_untrusted(pack(fields), layout) == fields


@settings(deadline=None)
@given(data=st.binary(max_size=300), layout=layouts)
def test_random_bytes_are_refused_or_canonical(data: bytes, layout: Layout) -> None:
    refused_or_canonical(data, layout)


@settings(deadline=None)
@given(value=st.lists(anything, max_size=9), layout=layouts)
def test_random_values_are_refused_or_canonical(value: list[Any], layout: Layout) -> None:
    refused_or_canonical(pack(value), layout)


@settings(deadline=None)
@given(data=st.data(), layout=layouts)
def test_changed_bytes_are_refused_or_canonical(data: st.DataObject, layout: Layout) -> None:
    encoded = bytearray(pack(data.draw(st.tuples(*map(values, layout)))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoded)))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change" if at < len(encoded):
                encoded[at] = data.draw(st.integers(0, 255))
            case "cut":
                del encoded[at : at + data.draw(st.integers(1, 3))]
            case _:
                encoded[at:at] = data.draw(st.binary(max_size=3))
    refused_or_canonical(bytes(encoded), layout)


@settings(deadline=None)
@given(data=st.data(), layout=layouts)
def test_no_value_has_a_second_spelling(data: st.DataObject, layout: Layout) -> None:
    fields = data.draw(st.tuples(*map(values, layout)))
    count = len(fields)
    body = pack(fields)[1 if count < 16 else 3 :]
    for header in (b"\xdc" + count.to_bytes(2, "big"), b"\xdd" + count.to_bytes(4, "big")):
        if header + body != pack(fields):
            assert not refused_or_canonical(header + body, layout)


@settings(deadline=None)
@given(data=st.data(), kind=st.sampled_from(RECORDS))
def test_a_record_re_encodes_to_the_bytes_it_came_from(
    data: st.DataObject, kind: type[Record]
) -> None:
    made = kind(*data.draw(st.tuples(*map(values, kind.LAYOUT))))
    decoded = kind.decode_untrusted(made.encode())
    assert decoded == made
    assert decoded.encode() == made.encode()


@settings(deadline=None)
@given(data=st.binary(max_size=400))
def test_random_bytes_are_no_signed_fact_and_no_batch(data: bytes) -> None:
    for decode in (decode_signed_fact_untrusted, decode_batch_untrusted):
        try:
            decode(data, MESH)
        except RemoteError:
            continue
        raise AssertionError("random bytes are too short for a signature and a key")


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    kinds=st.lists(st.sampled_from(RECORDS[:13]), min_size=1, max_size=6),
)
def test_a_changed_byte_in_a_batch_never_verifies(data: st.DataObject, kinds: list[Any]) -> None:
    facts = [kind(*data.draw(st.tuples(*map(values, kind.LAYOUT)))) for kind in kinds]
    facts = [fact for fact in facts if len(fact.encode()) <= 1100] or [kinds[0](bytes(32))]
    batch = encode_batch(sign_batch(SUITE, SigningKey(b"k" * 32), MESH, facts))
    at = data.draw(st.integers(0, len(batch) - 1))
    changed = batch[:at] + bytes((batch[at] ^ data.draw(st.integers(1, 255)),)) + batch[at + 1 :]
    verifier = Verifier(SUITE, MESH)
    verified = 0
    try:
        for fact in decode_batch_untrusted(changed, MESH):
            verifier.check(fact)
            verified += 1
    except RemoteError:
        pass
    assert verified == 0


frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), min_size=1, max_size=5)


@settings(deadline=None)
@given(echo=st.integers(0, 255), sent=frames)
def test_frames_survive(echo: int, sent: list[tuple[int, bytes]]) -> None:
    plaintext = bytes((echo,)) + b"".join(encode_frame(kind, body) for kind, body in sent)
    assert decode_frames_untrusted(plaintext) == sent


@settings(deadline=None)
@given(data=st.binary(max_size=60))
def test_random_frames_are_refused_or_canonical(data: bytes) -> None:
    try:
        taken = decode_frames_untrusted(data)
    except RemoteError:
        return
    assert data[:1] + b"".join(encode_frame(kind, body) for kind, body in taken) == data


@settings(deadline=None)
@given(chunks=st.lists(st.binary(max_size=20), max_size=8))
def test_a_join_frame_is_the_same_however_it_is_cut(chunks: list[bytes]) -> None:
    def outcome(parts: list[bytes]) -> object:
        reader = FrameReader()
        try:
            return [frame for part in parts if (frame := reader.take(part)) is not None]
        except RemoteError:
            return None

    whole, cut = outcome([b"".join(chunks)]), outcome(chunks)
    # Bytes behind a frame are refused at once when they come with it, else with the next frame.
    assert whole in ([], None, cut)
