"""Every kind at its bound and one beyond, and every second spelling refused."""

import tracemalloc

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.wire.codec import (
    DEPTH_MAX,
    Binary,
    Flag,
    Group,
    Kind,
    Layout,
    Many,
    Maybe,
    Record,
    Text,
    Uint,
    has_control_characters,
    longest_array,
    normalise_text,
    pack,
    unpack_untrusted,
)
from tests.unit.core.wire.layouts import LAYOUTS, RECORDS, depth, extremes

ONE: Layout = (Uint(64),)


def refusal_of(data: bytes, layout: Layout) -> Refusal:
    with pytest.raises(RemoteError) as refused:
        unpack_untrusted(data, layout)
    return refused.value.refusal


# ---- kinds


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Uint(8), 0),
        (Uint(8), 255),
        (Uint(16), 65_535),
        (Uint(64), 2**64 - 1),
        (Flag(), True),
        (Flag(), False),
        (Binary(4), b"four"),
        (Binary(0, 4), b""),
        (Binary(0, 4), b"four"),
        (Text(4), ""),
        (Text(4, 1), "four"),
        (Text(4, 1), "üü"),
        (Maybe(Uint(8)), None),
        (Maybe(Uint(8)), 7),
        (Many(Uint(8), 2), ()),
        (Many(Uint(8), 2), (1, 2)),
        (Group((Uint(8), Flag())), (1, True)),
    ],
)
def test_a_value_at_its_bound_survives(kind: Kind, value: object) -> None:
    data = pack([value])  # type: ignore[list-item]  # a value of any kind
    assert unpack_untrusted(data, (kind,)) == (value,)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Uint(8), 256),
        (Uint(8), -1),
        (Uint(64), -(2**63)),
        (Uint(8), True),
        (Uint(8), None),
        (Uint(8), 1.0),
        (Uint(8), "1"),
        (Flag(), 0),
        (Flag(), 1),
        (Flag(), None),
        (Binary(4), b"fiver"),
        (Binary(4), b"two"),
        (Binary(4), "four"),
        (Binary(0, 4), b"fiver"),
        (Binary(1, 4), b""),
        (Text(4), "fiver"),
        (Text(4), "üü1"),
        (Text(4, 1), ""),
        (Text(4), b"four"),
        (Maybe(Uint(8)), 256),
        (Maybe(Uint(8)), False),
        (Many(Uint(8), 2), (1, 2, 3)),
        (Many(Uint(8), 2), (1, 256)),
        (Many(Uint(8), 2), 1),
        (Many(Uint(8), 2), b"\x01\x02"),
        (Group((Uint(8), Flag())), (1,)),
        (Group((Uint(8), Flag())), (1, True, 2)),
        (Group((Uint(8), Flag())), (True, 1)),
        (Group((Uint(8), Flag())), None),
    ],
)
def test_a_value_beyond_its_bound_is_refused(kind: Kind, value: object) -> None:
    data = pack([value])  # type: ignore[list-item]  # a value of any kind
    assert refusal_of(data, (kind,)) is Refusal.MALFORMED


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_control_characters_are_refused(code: int) -> None:
    assert has_control_characters(chr(code))
    assert refusal_of(pack([f"a{chr(code)}"]), (Text(8),)) is Refusal.MALFORMED


@pytest.mark.parametrize("text", [" ", "~", "\xa0", "\xad", "\u2028", "\u202e", "\ue000", "é"])
def test_other_characters_pass_whatever_the_unicode_version(text: str) -> None:
    # Normalisation and printability differ between versions of Python: receivers do not ask.
    assert not has_control_characters(text)
    assert unpack_untrusted(pack([text]), (Text(8),)) == (text,)


def test_text_is_normalised_where_it_enters_and_not_on_receipt() -> None:
    apart = "e\N{COMBINING ACUTE ACCENT}"
    assert normalise_text(apart) == "\N{LATIN SMALL LETTER E WITH ACUTE}"
    assert unpack_untrusted(pack([apart]), (Text(8),)) == (apart,)


# ---- second spellings and foreign types


@pytest.mark.parametrize(
    ("data", "layout"),
    [
        (b"\x91\xcc\x01", ONE),
        (b"\x91\xcd\x00\xff", ONE),
        (b"\x91\xce\x00\x00\xff\xff", ONE),
        (b"\x91\xcf\x00\x00\x00\x00\xff\xff\xff\xff", ONE),
        (b"\x91\xd0\x01", ONE),
        (b"\x91\xd3\x00\x00\x00\x00\x00\x00\x00\x01", ONE),
        (b"\xdc\x00\x01\x01", ONE),
        (b"\xdd\x00\x00\x00\x01\x01", ONE),
        (b"\x91\xd9\x01a", (Text(8),)),
        (b"\x91\xda\x00\x01a", (Text(8),)),
        (b"\x91\xc5\x00\x01a", (Binary(0, 8),)),
        (b"\x91\xc6\x00\x00\x00\x01a", (Binary(0, 8),)),
    ],
)
def test_a_longer_spelling_of_the_same_value_is_refused(data: bytes, layout: Layout) -> None:
    assert refusal_of(data, layout) is Refusal.NOT_CANONICAL


@pytest.mark.parametrize("kind", [Uint(64), Flag(), Binary(0, 9), Text(9), Many(Uint(8), 9)])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"\xca\x3f\x80\x00\x00", id="float 32"),
        pytest.param(b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", id="float 64"),
        pytest.param(b"\x80", id="empty map"),
        pytest.param(b"\x81\x01\x01", id="map"),
        pytest.param(b"\xde\x00\x00", id="map 16"),
        pytest.param(b"\xd4\x01\x00", id="ext"),
        pytest.param(b"\xc7\x00\x01", id="empty ext"),
        pytest.param(b"\xd6\xff\x00\x00\x00\x00", id="timestamp"),
        pytest.param(b"\xc7\x00\xff", id="empty timestamp"),
        pytest.param(b"\xff", id="negative"),
        pytest.param(b"\xd0\x80", id="negative 8"),
        pytest.param(b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", id="negative 64"),
        pytest.param(b"\xc0", id="nil"),
        pytest.param(b"\xc1", id="reserved"),
    ],
)
def test_types_without_a_place_in_a_layout_are_refused(kind: Kind, value: bytes) -> None:
    assert refusal_of(b"\x91" + value, (kind,)) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"]
)
def test_bad_utf8_is_refused(text: bytes) -> None:
    data = b"\x91" + bytes((0xA0 | len(text),)) + text
    assert refusal_of(data, (Text(8),)) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x91",
        b"\x91\x01\x00",
        b"\x91\x01\x91\x01",
        b"\x92\x01\x01",
        b"\x90",
        b"\x01",
        b"\x91\xcd\x01",
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_cut_trailing_or_misplaced_bytes_are_refused(data: bytes) -> None:
    assert refusal_of(data, ONE) is Refusal.MALFORMED


def test_deeply_nested_arrays_are_refused() -> None:
    for count in (1, 4, 5, 100, 1023, 1024, 1025, 60_000):
        assert refusal_of(b"\x91" * count, ONE) is Refusal.MALFORMED
        assert refusal_of(b"\x91" * count + b"\x90", ONE) is Refusal.MALFORMED


@pytest.mark.parametrize("length", [1_200, 16_384, 60_000])
def test_array_headers_do_not_make_the_decoder_allocate(length: int) -> None:
    # Each header announces as many items as an honest message of this size could hold.
    for items in (2, 64, 65, length):
        data = (b"\xdc" + items.to_bytes(2, "big")) * (length // 3)
        tracemalloc.start()
        try:
            refusal_of(data, LAYOUTS["batch"])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1_000_000


# ---- layouts


def test_the_longest_array_is_found_at_every_depth() -> None:
    assert longest_array((Uint(8),) * 3) == 3
    assert longest_array((Maybe(Many(Uint(8), 7)),)) == 7
    assert longest_array((Many(Group((Flag(),) * 9), 2),)) == 9
    assert longest_array((Group((Many(Many(Flag(), 30), 20),)),)) == 30


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_layout_is_deeper_than_allowed(name: str) -> None:
    assert depth(LAYOUTS[name]) <= DEPTH_MAX


def test_depth_counts_from_the_outermost_array() -> None:
    assert depth(ONE) == 1
    assert depth((Many(Uint(8), 1),)) == 2
    assert depth((Maybe(Many(Group((Flag(),)), 1)),)) == 3


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_a_record_survives_at_both_ends_of_its_layout(
    record: type[Record],
    large: bool,
) -> None:
    made = record(*extremes(record.LAYOUT, large=large))
    assert len(record.__match_args__) == len(record.LAYOUT)
    assert record.decode_untrusted(made.encode()) == made


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_a_record_has_exactly_its_fields(record: type[Record]) -> None:
    fields = extremes(record.LAYOUT, large=False)
    for wrong in (fields[:-1], (*fields, 0), (*fields, None), ()):
        with pytest.raises(RemoteError):
            record.decode_untrusted(pack(wrong))
