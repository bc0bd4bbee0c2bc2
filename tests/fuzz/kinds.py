"""All that a node can be told: contexts of facts, kinds of messages, commands."""

import sys
from typing import Any

import msgspec
from msgspec import inspect

import mesh.core.node.node  # noqa: F401  with it every message is defined
from mesh.core.claims.exchange_facts import EXCHANGE_CONTEXTS
from mesh.core.claims.facts import CLAIM_CONTEXTS
from mesh.core.claims.forgotten import FORGET_CONTEXTS
from mesh.core.commands import Command
from mesh.core.membership.facts import MEMBERSHIP_CONTEXTS
from mesh.core.trust.records import TRUST_CONTEXTS
from mesh.core.wire.envelope import Fact
from mesh.core.wire.frame import Message

CONTEXTS: list[type[Fact]] = [
    *(
        TRUST_CONTEXTS | MEMBERSHIP_CONTEXTS | CLAIM_CONTEXTS | FORGET_CONTEXTS | EXCHANGE_CONTEXTS
    ).values()
]


def message_kinds() -> list[type[Message]]:
    """Return every message that nodes tell each other, by number."""
    found: dict[int, type[Message]] = {}
    waiting: list[type[Message]] = [Message]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        # A class with slots is made twice, and the first of the two is nobody's.
        if kind.KIND and getattr(sys.modules[kind.__module__], kind.__name__) is kind:
            found[kind.KIND] = kind
    return [found[number] for number in sorted(found)]


MESSAGES = message_kinds()


def command_kinds(union: Any = Command) -> list[type[msgspec.Struct]]:  # noqa: ANN401  a union
    """Return the struct of every command."""
    if isinstance(union, type):
        return [union]
    return [struct for part in union.__args__ for struct in command_kinds(part)]


COMMANDS = [inspect.type_info(struct) for struct in command_kinds()]
