"""Lines in and out of the control socket."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.control.framing import (
    BUNDLE_MAX,
    BadRequest,
    LineSplitter,
    Request,
    error_line,
    event_line,
    parse_request,
    result_line,
    split_bundle,
    too_large,
)
from mesh.core.errors import LocalError

GOOD = b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{}}'


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=8),
    st.lists(st.integers(0, 200), max_size=12),
)
def test_lines_do_not_depend_on_how_the_stream_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter = LineSplitter(bytes_max=8)
    received = [line for piece in cut(stream, cuts) for line in splitter.receive(piece)]
    expected = [None if len(line) > 8 else line for line in lines if len(line) > 8 or line.strip()]
    assert received == expected


def test_half_a_line_waits_for_its_end() -> None:
    splitter = LineSplitter()
    assert splitter.receive(b'{"a"') == []
    assert splitter.receive(b":1}\n{") == [b'{"a":1}']


def test_line_may_have_the_bound_and_no_byte_more() -> None:
    splitter = LineSplitter(bytes_max=8)
    assert splitter.receive(b"12345678\n123456789\nok\n") == [b"12345678", None, b"ok"]


def test_endless_line_is_reported_once_and_takes_no_memory() -> None:
    splitter = LineSplitter(bytes_max=8)
    reported = [line for _ in range(100) for line in splitter.receive(b"x" * 100)]
    assert reported == [None]
    assert splitter._buffer == b""
    assert splitter.receive(b"rest\nok\n") == [b"ok"]


def request_or_refusal(line: bytes) -> Request | BadRequest:
    try:
        return parse_request(line)
    except BadRequest as refused:
        return refused


@given(
    st.one_of(
        st.binary(max_size=200),
        st.dictionaries(
            st.sampled_from(["jsonrpc", "id", "method", "params", "x"]),
            st.sampled_from(["2.0", 1, -1, 1 << 70, None, 0.5, [], {}, "m", "\x00", True]),
        ).map(lambda frame: json.dumps(frame).encode()),
    )
)
def test_any_line_is_a_request_or_refused(line: bytes) -> None:
    taken = request_or_refusal(line)
    if isinstance(taken, BadRequest):
        assert taken.hint
        answer = error_line(taken.id, taken)
    else:
        answer = result_line(taken.id, None)
    assert json.loads(answer)["id"] == taken.id


def test_request_is_id_method_and_params() -> None:
    assert parse_request(GOOD) == (1, "hello", {})
    assert parse_request(b'{"jsonrpc":"2.0","id":"a","method":"m"}') == ("a", "m", {})


@pytest.mark.parametrize(
    ("line", "name", "id_"),
    [
        (b"{", "parse_error", None),
        (b"\xff\xfe", "parse_error", None),
        (b"[" * 100_000, "parse_error", None),
        (b"[]", "invalid_request", None),
        (b"1", "invalid_request", None),
        (b'{"jsonrpc":"2.0","method":"hello"}', "invalid_request", None),
        (b'{"jsonrpc":"2.0","id":null,"method":"hello"}', "invalid_request", None),
        (b'{"jsonrpc":"2.0","id":true,"method":"hello"}', "invalid_request", None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"hello"}', "invalid_request", None),
        (b'{"jsonrpc":"2.0","id":"' + b"x" * 129 + b'","method":"m"}', "invalid_request", None),
        (b'{"jsonrpc":"1.0","id":7,"method":"hello"}', "invalid_request", 7),
        (b'{"jsonrpc":"2.0","id":7,"method":3}', "invalid_request", 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"m","extra":1}', "invalid_request", 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"m","params":[1]}', "invalid_params", 7),
    ],
)
def test_everything_else_is_refused_under_its_id(line: bytes, name: str, id_: int | None) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_request(line)
    assert (refused.value.name, refused.value.id) == (name, id_)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("parse_error", -32700),
        ("invalid_request", -32600),
        ("unknown_method", -32601),
        ("invalid_params", -32602),
        ("claim_lost", -32000),
    ],
)
def test_error_has_a_code_a_name_and_a_hint(name: str, code: int) -> None:
    line = error_line(4, LocalError(name, "message\nof two lines", "hint"))
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "id": 4,
        "error": {
            "code": code,
            "message": "message\nof two lines",
            "data": {"name": name, "hint": "hint"},
        },
    }


def test_result_and_event_are_one_line_each() -> None:
    assert json.loads(result_line("x", {"a": "ä\n"})) == {
        "jsonrpc": "2.0",
        "id": "x",
        "result": {"a": "ä\n"},
    }
    assert json.loads(event_line("member", {"name": "n"})) == {
        "jsonrpc": "2.0",
        "method": "event",
        "params": {"topic": "member", "name": "n"},
    }
    assert too_large(9, 3).id == 3


def test_bytes_that_are_no_utf_8_are_no_request() -> None:
    line = GOOD.replace(b"hello", b"\xed\xa0\x80")
    with pytest.raises(BadRequest) as refused:
        parse_request(line)
    assert refused.value.name == "parse_error"


def test_bundle_is_an_array_of_requests() -> None:
    assert split_bundle(GOOD) is None
    assert split_bundle(b" [" + GOOD.strip() + b', {"a": [1]}, 3]') == [
        GOOD.strip(),
        b'{"a": [1]}',
        b"3",
    ]
    assert len(split_bundle(b"[" + b"1," * (BUNDLE_MAX - 1) + b"1]") or []) == BUNDLE_MAX


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"[1", "parse_error"),
        (b"[" * 100_000, "parse_error"),
        (b"[]", "invalid_request"),
        (b"[" + b"1," * BUNDLE_MAX + b"1]", "invalid_request"),
    ],
)
def test_bundle_has_between_one_and_its_bound(line: bytes, name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        split_bundle(line)
    assert (refused.value.name, refused.value.id) == (name, None)
