"""The pages of docs/reference, made from the code: `python -m mesh.cli.reference FOLDER`."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from mesh.cli.examples import ENDINGS
from mesh.cli.exit_codes import MEANINGS
from mesh.cli.main import build_parser
from mesh.control import access, connection, framing, messages, server
from mesh.control.topics import TOPICS
from mesh.core.params import PROFILES, Params, params_for

MADE = "*Made from the code by `python -m mesh.cli.reference docs/reference`; do not edit.*"


def pages() -> dict[str, str]:
    """Return the name of every page, and its text."""
    made = {"control-api.md": control_api(), "cli.md": commands(), "params.md": params()}
    return {name: "\n".join(lines).rstrip() + "\n" for name, lines in made.items()}


# --- the control socket


def control_api() -> Iterator[str]:
    """Yield the page about the control socket."""
    yield from ("# The control socket", "", MADE, "")
    yield from _conventions()
    yield from ("## Errors", "", "| `data.name` | code |", "|---|---|")
    for name, code in framing.CODES.items():
        yield f"| `{name}` | {code} |"
    yield f"| everything else | {framing.APPLICATION_ERROR} |"
    yield ""
    yield from _topics()
    yield from ("## Methods", "")
    for method in messages.describe():
        yield from (f"### `{method.name}`", "", method.summary, "")
        needed = access.access_needed(method.name)
        yield from (f"Who: {_WHO[needed]}.", "")
        if method.fields:
            yield from ("| field | type | default |", "|---|---|---|")
            for field in method.fields:
                default = "required" if field.default is None else f"`{field.default}`"
                yield f"| `{field.name}` | {field.type} | {default} |"
            yield ""


def _topics() -> Iterator[str]:
    yield from (
        "## Events",
        "",
        "`watch` asks for them by topic. Those marked * also come unasked to the agent that they",
        "are about: who holds the claim on its connection, has asked, or is attached for the kind.",
        "",
        "| topic | fields | says |",
        "|---|---|---|",
    )
    for name, topic in TOPICS.items():
        yield f"| `{name}`{'*' if topic.to_owner else ''} | {topic.fields} | {topic.says} |"
    yield from ("| `lagged` | missed, hint | This client read too slowly, and is cut off. |", "")


_WHO = {
    access.Access.LOOK: "everybody who can open the socket",
    access.Access.OPERATE: "the node's user, root, and members of the node's group",
    access.Access.OWN: "the node's user and root",
}


def _conventions() -> Iterator[str]:
    line_kib = framing.LINE_BYTES_MAX // 1024
    payload_mib = framing.PAYLOAD_LINE_BYTES_MAX // 1024 // 1024
    unread_mib = connection.QUEUE_BYTES_MAX // 1024 // 1024
    yield from (
        "A Unix stream socket that speaks JSON-RPC 2.0, one object per line, in UTF-8.",
        "",
        "```",
        '-> {"jsonrpc":"2.0","id":1,"method":"task.submit","params":{"kind":"build"}}',
        '<- {"jsonrpc":"2.0","id":1,"result":{"task":"1-10f7c866-cdad814f...","copies":2}}',
        "```",
        "",
        "- Where: `--socket`, `--instance N`, `$MESH_SOCKET`, as root `/run/mesh/mesh.sock`,",
        "  else `$XDG_RUNTIME_DIR/mesh/mesh.sock`, else `~/.local/state/mesh/mesh.sock`.",
        "- Every request has an id, an integer or a short text; its answer comes under that id.",
        "  Many may be open on one connection, and answers come in any order.",
        f"- A line may hold an array of up to {framing.BUNDLE_MAX} requests (a batch of JSON-RPC).",
        "  They reach the node together, in their order, and share one write to its disk and few",
        "  signatures; each succeeds or fails alone. Once all are decided, one line with an array",
        "  answers them, in the same order. So many tasks are submitted or claimed at once.",
        "  The clients `mesh.control.client` and `mesh.control.trio_client` call it `bundle`.",
        "- Fields that a method does not have are refused. Bytes are base64.",
        "- A request with a `request_id` may be repeated: it has one effect and one answer.",
        f"- A line has at most {line_kib} KiB, and {payload_mib} MiB where a method takes bytes.",
        f"- At most {server.CLIENTS_MAX} clients, each with {server.UNDER_WAY_MAX} open requests.",
        '- Events are notifications: `{"jsonrpc":"2.0","method":"event","params":{"topic":...}}`.',
        f"  A client with more than {server.QUEUE_MAX} unread lines, or {unread_mib} MiB of them,",
        "  hears `lagged` and is cut off.",
        "- A client that closes its sending half still gets the answers to what it asked.",
        "",
    )


# --- the command


def commands() -> Iterator[str]:
    """Yield the page about the `mesh` command."""
    parser = build_parser()
    yield from ("# The `mesh` command", "", MADE, "", parser.description or "", "")
    yield from (
        "Data is on stdout, talk on stderr. With `--json` the answer is one JSON document with",
        '`"v": 1`: fields may be added, never renamed. Times are lengths such as `500ms`, `30s`,',
        "`15m`, `1h`, `7d`. `NO_COLOR` is honoured. Where a value may be `TEXT|-|@FILE`, `-` is",
        "standard input and `@FILE` the content of a file. What is wrong is one line, what to do",
        "about it the next: `mesh: ...`, `hint: ...`. `mesh --version` prints the version, and",
        "`mesh COMMAND --help` what stands here.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
    )
    for code, meaning in MEANINGS.items():
        yield f"| {code} | {meaning} |"
    yield ""
    for name, subparser in _subparsers(parser):
        yield from _command("mesh", name, subparser)


def _command(prefix: str, name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    title = f"{prefix} {name}"
    deeper = list(_subparsers(parser))
    yield from (f"## `{title}`", "", parser.description or "", "")
    rows = [row for action in _actions(parser) if (row := _row(action))]
    if rows:
        yield from ("| | |", "|---|---|", *rows, "")
    ending = ENDINGS.get(title.partition(" ")[2])
    if ending is not None:
        codes = ", ".join(map(str, sorted(ending.codes)))
        yield from (f"Prints {ending.prints}. Exit codes: {codes}.", "")
        yield from ("```sh", *ending.examples, "```", "")
    for sub_name, subparser in deeper:
        yield from _command(title, sub_name, subparser)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    # argparse has no public list of what was added to a parser.
    return parser._actions  # noqa: SLF001  see above


def _subparsers(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  its type has no public name
            yield from action.choices.items()


def _row(action: argparse.Action) -> str | None:
    if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):  # noqa: SLF001  as above
        return None
    value = _value_text(action)
    if action.option_strings:
        shown = ", ".join(action.option_strings) + (f" {value}" if value else "")
    else:
        shown = f"[{value}]" if action.nargs == "?" else value
    shown = shown.replace("|", "\\|")
    note = (action.help or "").replace("|", "\\|")
    required = " (required)" if action.option_strings and action.required else ""
    return f"| `{shown}` | {note}{required} |"


def _value_text(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    return action.metavar or action.dest


# --- the numbers


def params() -> Iterator[str]:
    """Yield the page about the tunable numbers."""
    default = Params()
    yield from (
        "# Numbers",
        "",
        MADE,
        "",
        "Every tunable number, with its legal range and its reason. The unit stands at the end of",
        "the name. A mesh has one profile, chosen when it is founded: nodes with different timings",
        f"would accuse each other. The default profile is `{default.profile}`.",
        "",
    )
    for group in fields(default):
        if group.name == "profile":
            continue
        values: Any = getattr(default, group.name)
        yield from (f"## {group.name}", "", (type(values).__doc__ or "").strip(), "")
        yield from ("| name | default | from | to | why |", "|---|---|---|---|---|")
        for number in fields(values):
            low, high, why = (number.metadata[key] for key in ("low", "high", "why"))
            value = getattr(values, number.name)
            shown = " | ".join(map(_number, (value, low, high)))
            yield f"| `{number.name}` | {shown} | {why} |"
        yield ""
    yield from _profiles(default)


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:g}"


def _profiles(default: Params) -> Iterator[str]:
    yield from ("## Profiles", "", "What differs from the defaults above.", "")
    yield from ("| profile | numbers |", "|---|---|")
    for profile in PROFILES:
        made = params_for(profile)
        different = [
            f"`{number.name}` {_number(getattr(values, number.name))}"
            for group in fields(default)
            if group.name != "profile"
            for values in [getattr(made, group.name)]
            for number in fields(values)
            if getattr(values, number.name) != getattr(getattr(default, group.name), number.name)
        ]
        yield f"| `{profile}` | {', '.join(different) or 'none'} |"


def main(arguments: list[str]) -> int:
    """Write the pages into a folder, or print them."""
    for name, text in pages().items():
        if arguments:
            (Path(arguments[0]) / name).write_text(text)
        else:
            sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
