"""Methods of the control socket: each is one struct of `mesh.core.commands`, and `watch`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta, inspect

from mesh.control.framing import LINE_BYTES_MAX, PAYLOAD_LINE_BYTES_MAX
from mesh.core.command_fields import Base64
from mesh.core.commands import Command
from mesh.core.errors import LocalError
from mesh.core.wire.codec import normalise_text

TOPICS_MAX = 16
EVERYTHING = "*"
_FIELD = re.compile(r"`\$\.([a-z_]+)")
"""The field in what msgspec says of a value."""
Topic = Annotated[str, Meta(min_length=1, max_length=64)]


class Watch(msgspec.Struct, tag="watch", frozen=True, forbid_unknown_fields=True):
    """From now on send `event` notifications of these topics; `*` is all, none is silence.

    `task` also stands for `task.lost` and whatever else begins with `task.`. Answered by the
    socket itself; it replaces what was watched before.
    """

    topics: Annotated[tuple[Topic, ...], Meta(max_length=TOPICS_MAX)]


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One parameter of a method."""

    name: str
    type: str
    default: str | None
    """As JSON; None when the field is required."""


@dataclass(frozen=True, slots=True)
class MethodDescription:
    """One method with its parameters."""

    name: str
    summary: str
    fields: tuple[FieldDescription, ...]


def _structs(kind: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, UnionType):
        for part in get_args(kind):
            yield from _structs(part)
    else:
        assert isinstance(kind, type)
        assert issubclass(kind, msgspec.Struct)
        yield kind


def _name_of(struct: type[msgspec.Struct]) -> str:
    tag = struct.__struct_config__.tag
    assert isinstance(tag, str), "every command has its method's name as tag"
    return tag


_STRUCTS: tuple[type[msgspec.Struct], ...] = (*_structs(Command), Watch)
_METHODS = {_name_of(struct): struct for struct in _STRUCTS}
_FIELDS = {name: struct.__struct_fields__ for name, struct in _METHODS.items()}
_PAYLOAD_METHODS = {
    name: None
    for name, struct in _METHODS.items()
    if any(hint is Base64 for hint in struct.__annotations__.values())
}


def line_bytes_max(method: str) -> int:
    """Return how long the line of a request may be."""
    return PAYLOAD_LINE_BYTES_MAX if method in _PAYLOAD_METHODS else LINE_BYTES_MAX


def matches(pattern: str, topic: str) -> bool:
    """Whether somebody who watches `pattern` hears of `topic`."""
    return pattern in {EVERYTHING, topic} or topic.startswith(pattern + ".")


def decode_command(method: str, params: Mapping[str, Any]) -> "Command | Watch":
    """Return the command behind a method and its parameters; raises LocalError.

    Texts are put into NFC here, where they enter.
    """
    struct = _METHODS.get(method)
    if struct is None:
        raise LocalError(
            "unknown_method",
            f"there is no method {method!r}",
            f"the methods are {', '.join(sorted(_METHODS))}",
        )
    fields = _FIELDS[method]
    for name in params:
        if name not in fields:
            raise LocalError(
                "invalid_params", f"{method} has no field {name!r}", _fields_hint(method)
            )
    try:
        command: Any = msgspec.convert(_normalised(params), struct)
    except msgspec.ValidationError as wrong:
        raise _invalid(method, str(wrong)) from None
    except RecursionError:
        raise LocalError(
            "invalid_params", f"{method}: nested too deeply", _fields_hint(method)
        ) from None
    return command  # type: ignore[no-any-return]  # one of _METHODS, which are these


def _invalid(method: str, said: str) -> LocalError:
    """Return the error for a field that is missing, or whose value does not fit."""
    wrong, _, place = said.rpartition(" - at ")
    found = _FIELD.search(place)
    if not wrong or found is None:
        return LocalError("invalid_params", f"{method}: {said}", _fields_hint(method))
    name = found[1]
    takes = _takes(method)[name]
    if "regex" in wrong:
        wrong, takes = "a control character", f"{takes}, without control characters"
    return LocalError(
        "invalid_params",
        f"{method}: {name}: {wrong.replace('`str`', 'text').replace('`', '')}",
        f"{name} takes: {takes}",
    )


@cache
def _takes(method: str) -> Mapping[str, str]:
    """Return what the fields of a method take, in words."""
    return {field.name: field.type for field in _describe(method).fields}


def _fields_hint(method: str) -> str:
    fields = _FIELDS[method]
    return f"its fields are {', '.join(fields)}" if fields else "it has no fields"


def _normalised(value: Any) -> Any:  # noqa: ANN401  JSON, nested
    match value:
        case str():
            return value if value.isascii() else normalise_text(value)
        case list():
            return [_normalised(item) for item in value]
        case dict():
            return {_normalised(key): _normalised(item) for key, item in value.items()}
        case _:
            return value


# --- for the reference


def describe() -> Iterator[MethodDescription]:
    """Yield every method, by name."""
    for name in sorted(_METHODS):
        yield _describe(name)


def _describe(name: str) -> MethodDescription:
    struct = _METHODS[name]
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    fields = tuple(
        FieldDescription(field.name, _type_text(field.type), _default_text(field))
        for field in info.fields
    )
    summary = " ".join((struct.__doc__ or "").split())
    return MethodDescription(name, summary, fields)


def _default_text(field: inspect.Field) -> str | None:
    if field.required:
        return None
    if field.default is not msgspec.NODEFAULT:
        return msgspec.json.encode(field.default).decode()
    return msgspec.json.encode(field.default_factory()).decode()


_WORDS: dict[type[inspect.Type], str] = {
    inspect.BoolType: "true or false",
    inspect.NoneType: "null",
}


def _type_text(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _type_text(kind.type)
        case inspect.UnionType():
            return " or ".join(_type_text(part) for part in kind.types)
        case inspect.VarTupleType():
            return f"list{_lengths(kind, ' items')} of {_type_text(kind.item_type)}"
        case inspect.DictType():
            return f"object of {_type_text(kind.value_type)}"
        case inspect.StrType():
            return f"text{_lengths(kind, ' characters')}"
        case inspect.IntType() | inspect.FloatType():
            word = "integer" if isinstance(kind, inspect.IntType) else "number"
            return word if kind.ge is None else f"{word} {_number(kind.ge)}..{_number(kind.le)}"
        case inspect.TupleType():
            return f"[{', '.join(_type_text(part) for part in kind.item_types)}]"
        case inspect.LiteralType():
            return " or ".join(f'"{value}"' for value in kind.values)
        case inspect.StructType():
            return f"object of {', '.join(field.name for field in kind.fields)}"
        case _:
            return _WORDS[type(kind)]


def _number(bound: float | None) -> str:
    return "" if bound is None else f"{bound:g}" if bound < 1e6 else f"{bound:.0f}"


def _lengths(kind: inspect.StrType | inspect.VarTupleType, unit: str) -> str:
    low, high = kind.min_length or 0, kind.max_length
    return "" if high is None else f" ({low}..{high}{unit})"
