"""`mesh task`: the reading half is here, the writing half in `mesh.cli.claims`."""

import argparse
from collections.abc import Mapping
from typing import Any

from mesh.cli import claims, exit_codes, parcels, talk, watching
from mesh.cli.contexts import fill, fill_handoff
from mesh.cli.options import Subcommands, add_json, add_quiet, add_socket, add_subcommands, connect
from mesh.cli.output import Output, escape, say, words
from mesh.cli.submission import add_schedule, schedule
from mesh.cli.values import ago, count, duration_s, whole
from mesh.control.client import Client

LISTED = 1000
"""As many as a node lists where no limit is given."""
CONTEXT_S = 5.0
"""What is still on its way then is shown as being fetched."""
WAIT_S = 86_400.0
LIST_HEADERS = ("ID", "KIND", "STATE", "OWNER", "STARTS", "CHANGED")
RUN_HEADERS = ("RUN", "BY", "STARTED", "ENDED", "OUTCOME", "ERROR")
HISTORY_HEADERS = ("SEEN", "FACT", "BY", "SIGNED", "WHAT")
SHOWN_IN_COLUMNS = ("kind", "id", "author", "name", "signature_ok", "at")


def add_task(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `mesh task`."""
    subcommands: Subcommands = {
        "submit": (_add_submit, "put a task into the table"),
        "list": (_add_list, "list tasks, oldest first"),
        "show": (_add_show, "show one task in full"),
        "watch": (watching.add_watch, "print each change of a task as it happens"),
        "history": (_add_history, "show the signed facts of one task"),
        "wait": (_add_wait, "wait until a task is over"),
        "result": (parcels.add_result, "print the output of a completed task, or save it"),
        "claim": (claims.add_claim, "own a task; prints the handle for what follows"),
        "start": (claims.add_start, "say that work on a claim begins"),
        "complete": (claims.add_complete, "hand in the output of a claim"),
        "fail": (claims.add_fail, "end an attempt without an output"),
        "release": (talk.add_release, "give a task back; costs no attempt"),
        "decline": (talk.add_decline, "give a task back as not for this agent"),
        "progress": (talk.add_progress, "say how the work on a claim goes"),
        "handoff": (talk.add_handoff, "hand a task over with its context"),
        "ask": (talk.add_ask, "ask a question about a claimed task"),
        "answer": (talk.add_answer, "answer a question, from any node"),
        "questions": (talk.add_questions, "list open questions"),
        "verify": (talk.add_verify, "accept or refuse another agent's result"),
        "reopen": (talk.add_reopen, "submit a task that is over once more"),
        "cancel": (claims.add_cancel, "have nobody do a task any more"),
    }
    for subparser, add in add_subcommands(parser, subcommands):
        add_socket(subparser)
        add_json(subparser)
        add(subparser)


# --- submitting


def _add_submit(parser: argparse.ArgumentParser) -> None:
    add_quiet(parser, "the id only")
    parser.add_argument("kind", metavar="KIND", help="what sort of work; agents wait for kinds")
    parser.add_argument(
        "payload", metavar="PAYLOAD|-|@FILE", nargs="?", default="", help="what the agent is given"
    )
    parser.add_argument("--wait", action="store_true", help="wait, and print the output")
    parser.add_argument(
        "--timeout", metavar="T", type=duration_s, default=WAIT_S, help="wait no longer (1d)"
    )
    parser.add_argument("--copies", metavar="N", type=count, help="answer once on so many disks")
    parser.add_argument("--retries", metavar="N", type=whole, help="attempts after the first")
    parser.add_argument("--backoff", metavar="T", type=duration_s, help="pause between attempts")
    parser.add_argument(
        "--orphan-grace", metavar="T", type=duration_s, help="rest so long when its owner dies"
    )
    parser.add_argument("--note", metavar="TEXT", help="shown with the task")
    parser.add_argument(
        "--request-id", metavar="ID", help="the same id again submits nothing again"
    )
    add_schedule(parser)
    parser.set_defaults(run=submit)


def _submission(options: argparse.Namespace) -> dict[str, Any]:
    retries = options.retries
    wanted = {
        "copies": options.copies,
        "max_attempts": None if retries is None else retries + 1,
        "backoff_s": options.backoff,
        "orphan_grace_s": options.orphan_grace,
        "note": options.note,
        "request_id": options.request_id,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    return {"kind": options.kind, **given, **schedule(options)}


def submit(options: argparse.Namespace) -> int:
    """Put a task into the table, and with `--wait` print its output."""
    output, payload = Output(options), parcels.given(options.payload)
    with connect(options) as client:
        wanted = _submission(options) | parcels.packed(client, payload, "payload")
        answer = client.request("task.submit", wanted)
        if not answer.get("joined") and answer["copies"] < (options.copies or 1):
            why = "others are not there, lack its bytes, or did not say so"
            say(f"durable on {answer['copies']} nodes: {why}")
        if options.wait:
            say(f"submitted {escape(answer['task'])}")
            task = _waited_for(client, answer["task"], options.timeout)
            return _print_end(output, task, client)
    if output.as_json:
        output.document(answer)
    elif output.quiet:
        output.line(words(answer["task"]))
    else:
        output.fields(answer)
    return exit_codes.OK


# --- waiting


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="ID", help="a task id")
    parser.add_argument(
        "--timeout", metavar="T", type=duration_s, default=WAIT_S, help="wait no longer (1d)"
    )
    parser.set_defaults(run=wait)


def wait(options: argparse.Namespace) -> int:
    """Wait until a task is over; the exit code says how it ended."""
    output = Output(options)
    with connect(options) as client:
        return _print_end(output, _waited_for(client, options.task, options.timeout), client)


def _waited_for(client: Client, task: str, patience_s: float) -> dict[str, Any]:
    ended: dict[str, Any] = client.call("task.wait", task=task, wait_s=patience_s)["task"]
    return ended


def _print_end(output: Output, task: Mapping[str, Any], client: Client) -> int:
    state = task["state"]
    if output.as_json:
        output.document({"task": task})
    elif task["result"] is not None:
        output.bytes(parcels.unpacked(client, task["result"]))
    else:
        say(f"task {words(task['id'])} {words(state)}: {words(task.get('error'))}")
    return exit_codes.code_of_state(state)


# --- looking


def _add_list(parser: argparse.ArgumentParser) -> None:
    add_quiet(parser)
    parser.add_argument("--kind", metavar="KIND", help="only of this kind")
    parser.add_argument("--state", metavar="STATE", help="only in this state, such as working")
    parser.add_argument("--limit", metavar="N", type=count, help="at most so many (1000)")
    parser.add_argument("--owner", metavar="NODE", help="only of this node or agent")
    parser.add_argument("--key", metavar="KEY", help="only with this limit or dedupe key")
    parser.add_argument("--since", metavar="T", type=duration_s, help="changed within this time")
    parser.add_argument(
        "--duplicates", action="store_true", help="started more than once, or result superseded"
    )
    parser.add_argument(
        "--conflicts", action="store_true", help="set aside: forgotten, but they looked open here"
    )
    parser.set_defaults(run=list_tasks)


def list_tasks(options: argparse.Namespace) -> int:
    """List the tasks this node knows of."""
    output = Output(options)
    wanted = {
        "kind": options.kind,
        "state": options.state,
        "limit": options.limit,
        "owner": options.owner,
        "key": options.key,
        "since_s": options.since,
        "duplicates": options.duplicates or None,
        "conflicts": options.conflicts or None,
    }
    with connect(options) as client:
        given = {name: value for name, value in wanted.items() if value is not None}
        answer = client.request("task.list", given)
    if output.as_json:
        output.document(answer)
    elif output.quiet:
        for task in answer["tasks"]:
            output.line(words(task["id"]))
    else:
        output.table(LIST_HEADERS, [_list_row(task) for task in answer["tasks"]])
    shown, most = len(answer["tasks"]), options.limit or LISTED
    if shown == most and not output.as_json:
        say(f"the oldest {shown}; there may be more: give --limit N, or --state, --kind, --since")
    return exit_codes.OK


def _list_row(task: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        task["id"],
        task["kind"],
        task["state"],
        _owner(task.get("owner")),
        words(task.get("starts")),
        ago(task["updated_at"]),
    )


def _owner(owner: Mapping[str, Any] | None) -> str | None:
    if owner is None:
        return None
    return f"{owner['agent']} on {owner.get('name') or owner['node']}"


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="ID", help="a task id")
    parser.set_defaults(run=show)


def show(options: argparse.Namespace) -> int:
    """Show one task in full."""
    output = Output(options)
    with connect(options) as client:
        answer = client.call("task.show", task=options.task)
        fill_handoff(client, answer["task"], CONTEXT_S)
    if output.as_json:
        output.document(answer)
        return exit_codes.OK
    task = dict(answer["task"])
    task["owner"] = _owner(task["owner"])
    runs = task.pop("runs", [])
    task["blocked_on"] = _blocks(task.get("blocked_on", []))
    for moment in ("created_at", "updated_at"):
        task[moment] = ago(task.get(moment))
    output.sections(task)
    if runs:
        output.table(RUN_HEADERS, [_run_row(run) for run in runs])
    return exit_codes.OK


def _run_row(run: Mapping[str, Any]) -> tuple[Any, ...]:
    began, ended = ago(run["started_at"]), ago(run["ended_at"])
    return run["epoch"], _owner(run), began, ended, run["outcome"], run["error"]


def _blocks(blocked_on: list[Any]) -> list[str]:
    """Return why a task waits, a phrase for each reason."""
    return [
        " ".join(str(value) for name, value in block.items() if value not in (None, [], {}))
        for block in blocked_on
    ]


def _add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="ID", help="a task id")
    parser.set_defaults(run=show_history)


def show_history(options: argparse.Namespace) -> int:
    """Show the signed facts of one task."""
    output = Output(options)
    with connect(options) as client:
        answer = client.call("task.history", task=options.task)
        for fact in answer["facts"]:
            fill(client, fact, CONTEXT_S)
    if output.as_json:
        output.document(answer)
    else:
        output.table(HISTORY_HEADERS, [_history_row(fact) for fact in answer["facts"]])
    return exit_codes.OK


def _history_row(fact: Mapping[str, Any]) -> tuple[Any, ...]:
    what = {key: value for key, value in fact.items() if key not in SHOWN_IN_COLUMNS}
    said = {key: value for key, value in what.items() if value is not None}
    signed = "yes" if fact["signature_ok"] else "NO"
    return ago(fact["at"]), fact["kind"], fact.get("name") or fact["author"], signed, said
