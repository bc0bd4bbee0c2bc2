"""Methods and their parameters."""

import typing
from types import UnionType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.control.framing import LINE_BYTES_MAX, PAYLOAD_LINE_BYTES_MAX
from mesh.control.messages import Watch, decode_command, describe, line_bytes_max, matches
from mesh.core.commands import Command, MemberList, TaskClaim, TaskSubmit
from mesh.core.errors import LocalError


def leaves(kind: Any) -> list[type[msgspec.Struct]]:  # noqa: ANN401  a union or a class
    if isinstance(kind, UnionType):
        return [leaf for part in typing.get_args(kind) for leaf in leaves(part)]
    return [kind]


def refusal(method: str, params: dict[str, Any]) -> LocalError:
    with pytest.raises(LocalError) as refused:
        decode_command(method, params)
    return refused.value


def test_every_command_is_a_method_and_described() -> None:
    tags = [leaf.__struct_config__.tag for leaf in leaves(Command)]
    assert sorted([*map(str, tags), "watch"]) == [method.name for method in describe()]


def test_fields_are_described_with_type_and_default() -> None:
    described = {method.name: method for method in describe()}
    claim = {field.name: field for field in described["task.claim"].fields}
    assert claim["wait_s"].type == "number 0..31536000"
    assert claim["wait_s"].default == "0.0"
    assert claim["kinds"].type == "list (0..64 items) of text (1..64 characters)"
    assert claim["provisional"].type == "true or false"
    submit = {field.name: field for field in described["task.submit"].fields}
    assert submit["kind"].default is None
    assert submit["request_id"].type == "text (1..128 characters) or null"


def test_params_become_a_command() -> None:
    assert decode_command("task.submit", {"kind": "build"}) == TaskSubmit(kind="build")
    assert decode_command("task.claim", {"kinds": ["a", "b"]}) == TaskClaim(kinds=("a", "b"))
    assert decode_command("member.list", {"tags": {"a": "b"}}) == MemberList(tags={"a": "b"})
    assert decode_command("watch", {"topics": ["*"]}) == Watch(("*",))


def test_unknown_method_is_refused_with_all_there_are() -> None:
    error = refusal("task.sumbit", {})
    assert error.name == "unknown_method"
    assert "task.submit" in error.hint


def test_unknown_field_is_refused_with_all_there_are() -> None:
    error = refusal("task.submit", {"kind": "a", "prioritty": 1})
    assert error.name == "invalid_params"
    assert "'prioritty'" in error.message
    assert "copies" in error.hint
    assert refusal("hello", {"type": "hello"}).hint == "it has no fields"


@pytest.mark.parametrize(
    ("method", "params", "where"),
    [
        ("task.submit", {}, "kind"),
        ("task.submit", {"kind": 1}, "kind"),
        ("task.submit", {"kind": ""}, "kind"),
        ("task.submit", {"kind": "a\x1b[31m"}, "kind"),
        ("task.submit", {"kind": "k" * 65}, "kind"),
        ("task.submit", {"kind": "a", "copies": 9}, "copies"),
        ("task.submit", {"kind": "a", "copies": "2"}, "copies"),
        ("task.claim", {"wait_s": -1}, "wait_s"),
        ("member.wait", {"members": 0}, "members"),
        ("watch", {"topics": ["t"] * 17}, "topics"),
        ("watch", {"topics": [""]}, "topics"),
        ("task.submit", {"kind": "a", "allocation": "`$.nonsense` - at `$.more`"}, "allocation"),
        ("task.submit", {"kind": "a", "requires": {"": "x"}}, "requires"),
        ("task.submit", {"kind": "a", "limit": ["x", 0]}, "limit"),
    ],
)
def test_wrong_value_is_refused_with_its_place(
    method: str, params: dict[str, Any], where: str
) -> None:
    error = refusal(method, params)
    assert error.name == "invalid_params"
    assert where in error.message


def test_wrong_value_is_refused_in_words_with_what_fits() -> None:
    error = refusal("task.submit", {"kind": "a\x1b[31m"})
    assert error.message == "task.submit: kind: a control character"
    assert error.hint == "kind takes: text (1..64 characters), without control characters"
    error = refusal("task.submit", {"kind": "a", "copies": 9})
    assert error.message == "task.submit: copies: Expected int <= 8"
    assert error.hint == "copies takes: integer 1..8"


@pytest.mark.parametrize("depth", [10, 400, 600, 900, 20_000])
def test_what_is_nested_deeply_is_refused_like_any_wrong_value(depth: int) -> None:
    """It used to pass the parser and end the node: whoever may use the socket could do that."""
    value: Any = "x"
    for at in range(depth):
        value = [value] if at % 2 else {"a": value}
    assert refusal("member.list", {"status": value}).name == "invalid_params"
    assert refusal("task.offer", {"handle": "h" * 8, "done": value}).name == "invalid_params"


def outcome(method: str, params: dict[str, Any]) -> str:
    try:
        decode_command(method, params)
    except LocalError as refused:
        return refused.name
    return "taken"


@given(
    st.sampled_from([method.name for method in describe()]),
    st.dictionaries(
        st.sampled_from(["task", "kinds", "kind", "handle", "wait_s", "tags", "x", "members"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    ),
)
def test_any_params_are_a_command_or_refused(method: str, params: dict[str, Any]) -> None:
    assert outcome(method, params) in {"taken", "invalid_params"}


def test_texts_are_normalised_where_they_enter() -> None:
    decomposed, composed = "caf\u0065\u0301", "caf\u00e9"
    assert decode_command("task.submit", {"kind": decomposed}) == TaskSubmit(kind=composed)
    assert decode_command("member.list", {"tags": {decomposed: decomposed}}) == MemberList(
        tags={composed: composed}
    )
    assert decode_command("task.claim", {"kinds": [decomposed]}) == TaskClaim(kinds=(composed,))


def test_only_methods_that_carry_bytes_may_be_long() -> None:
    assert line_bytes_max("task.submit") == PAYLOAD_LINE_BYTES_MAX
    assert line_bytes_max("task.complete") == PAYLOAD_LINE_BYTES_MAX
    assert line_bytes_max("task.fail") == LINE_BYTES_MAX
    assert line_bytes_max("nonsense") == LINE_BYTES_MAX


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("*", "member", True),
        ("task", "task", True),
        ("task", "task.lost", True),
        ("task", "tasks", False),
        ("task.lost", "task", False),
        ("member", "task", False),
    ],
)
def test_pattern_stands_for_what_is_below_it(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected
