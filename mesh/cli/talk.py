"""`mesh task` for those who work together on one: progress, hand-over, questions, reviews."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from mesh.cli import exit_codes
from mesh.cli.contexts import context_in, fill_handoff, packed_checkpoint, packed_context
from mesh.cli.options import Subcommands, add_json, add_quiet, add_socket, add_subcommands, connect
from mesh.cli.output import Output, words
from mesh.cli.parcels import given
from mesh.cli.values import count, duration_s, percent, whole
from mesh.control.client import Client, Refused

WAIT_S = 86_400.0
QUESTION_HEADERS = ("QUESTION", "STATE", "BY", "TEXT", "ANSWERS")
ACCEPT_S = 60.0
Pack = Callable[[Client], dict[str, Any]]


def _handle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("handle", metavar="HANDLE", help="from `mesh task claim`")


def _task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="ID", help="a task id")


def _agent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", metavar="NAME", default="cli", help="who says so (cli)")


def _send(options: argparse.Namespace, method: str, *carried: Pack, **fields: object) -> int:
    """Ask the node, and print what it answers; what is `carried` may have to be put in first."""
    output = Output(options)
    wanted = {name: value for name, value in fields.items() if value is not None}
    with connect(options) as client:
        for pack in carried:
            wanted |= pack(client)
        answer = client.request(method, wanted)
        if method == "task.accept":
            fill_handoff(client, answer, ACCEPT_S)
    if output.as_json:
        output.document(answer)
    else:
        output.sections(answer)
    return exit_codes.OK


# --- reports


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task progress`."""
    _handle(parser)
    parser.add_argument("note", metavar="NOTE", nargs="?", default="", help="shown to everybody")
    parser.add_argument("--done", metavar="N", type=whole, help="so many items are done")
    parser.add_argument("--total", metavar="N", type=count, help="of so many")
    parser.add_argument("--percent", metavar="P", type=percent, help="instead of done and total")
    parser.add_argument(
        "--checkpoint", metavar="TEXT|-|@FILE", help="where a later attempt may go on from"
    )
    parser.set_defaults(run=progress)


def progress(options: argparse.Namespace) -> int:
    """Say how the work on a claim goes."""
    data = b"" if options.checkpoint is None else given(options.checkpoint)
    return _send(
        options,
        "task.progress",
        lambda _: packed_checkpoint(data),
        handle=options.handle,
        note=options.note,
        done=options.done,
        total=options.total,
        percent=options.percent,
    )


def add_decline(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task decline`."""
    _handle(parser)
    parser.add_argument("reason", metavar="REASON", nargs="?", default="", help="shown to all")
    parser.set_defaults(run=lambda o: _send(o, "task.decline", handle=o.handle, reason=o.reason))


# --- handing over


def add_handoff(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `mesh task handoff`."""
    steps: Subcommands = {
        "offer": (_add_offer, "offer a claim with what the next one has to know"),
        "withdraw": (_add_withdraw, "keep a claim that was offered"),
        "accept": (_add_accept, "take over a task that was offered"),
        "decline": (_add_refuse, "say that this agent does not take it"),
    }
    for step, add in add_subcommands(parser, steps, "step"):
        add_socket(step)
        add_json(step)
        add(step)


def _add_offer(parser: argparse.ArgumentParser) -> None:
    _handle(parser)
    parser.add_argument("--to", metavar="NODE", help="name or id of a node; anyone if left out")
    parser.add_argument("--agent", metavar="NAME", help="only to an agent of this name")
    parser.add_argument("--goal", metavar="TEXT", help="what is to be reached")
    for name, what in (
        ("done", "what is done"),
        ("pending", "what is still to do"),
        ("caveat", "what to look out for"),
    ):
        parser.add_argument(
            f"--{name}", metavar="TEXT", action="append", help=f"{what}; may be repeated"
        )
    parser.add_argument(
        "--decision",
        metavar=("WHAT", "WHY"),
        nargs=2,
        action="append",
        help="what was decided and why; may be repeated",
    )
    parser.add_argument(
        "--context", metavar="JSON|-|@FILE", help="all of these as one JSON object instead"
    )
    parser.set_defaults(run=offer)


def offer(options: argparse.Namespace) -> int:
    """Offer a claim to another agent, or to anyone."""
    decisions = [{"what": what, "why": why} for what, why in options.decision or ()]
    context: dict[str, Any] = {
        "goal": options.goal,
        "done": options.done,
        "pending": options.pending,
        "decisions": decisions or None,
        "caveats": options.caveat,
    }
    if options.context is not None:
        context = context_in(given(options.context))
    return _send(
        options,
        "task.offer",
        lambda client: packed_context(client, context),
        handle=options.handle,
        to=options.to,
        agent=options.agent,
    )


def _add_withdraw(parser: argparse.ArgumentParser) -> None:
    _handle(parser)
    parser.set_defaults(run=lambda o: _send(o, "task.offer", handle=o.handle, withdraw=True))


def _add_accept(parser: argparse.ArgumentParser) -> None:
    _task(parser)
    _agent(parser)
    # This command ends at once: the claim must not end with its connection.
    parser.set_defaults(
        run=lambda o: _send(o, "task.accept", task=o.task, agent=o.agent, detached=True)
    )


def _add_refuse(parser: argparse.ArgumentParser) -> None:
    _task(parser)
    _agent(parser)
    parser.add_argument("reason", metavar="REASON", nargs="?", default="", help="shown to all")
    parser.set_defaults(
        run=lambda o: _send(o, "task.refuse", task=o.task, agent=o.agent, reason=o.reason)
    )


# --- questions


def add_ask(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task ask`."""
    add_quiet(parser, "the question's id only")
    _handle(parser)
    parser.add_argument("text", metavar="TEXT", help="what is to be known")
    parser.add_argument(
        "--limit", metavar="T", type=duration_s, help="the question is over after this"
    )
    parser.add_argument("--wait", action="store_true", help="wait, and print the answer")
    parser.set_defaults(run=ask)


def ask(options: argparse.Namespace) -> int:
    """Ask a question about a claimed task, and with `--wait` print the answer."""
    output = Output(options)
    asked: dict[str, Any] = {"handle": options.handle, "text": options.text}
    if options.limit is not None:
        asked["limit_s"] = options.limit
    with connect(options) as client:
        answer = client.request("task.ask", asked)
        if options.wait:
            told = client.call(
                "task.await_answer",
                task=answer["task"],
                question=answer["question"],
                wait_s=WAIT_S,
            )
            return _print_answer(output, told)
    if output.as_json:
        output.document(answer)
    elif output.quiet:
        output.line(words(answer["question"]))
    else:
        output.fields(answer)
    return exit_codes.OK


def _print_answer(output: Output, told: Mapping[str, Any]) -> int:
    if output.as_json:
        output.document(told)
    else:
        for said in told["answers"]:
            output.line(words(said["text"]))
    return exit_codes.OK if told["answers"] else exit_codes.TIMED_OUT


def add_answer(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task answer`."""
    _task(parser)
    parser.add_argument("text", metavar="TEXT", help="the answer")
    parser.add_argument(
        "--question", metavar="ID", help="which one, if several are open; see `questions`"
    )
    _agent(parser)
    parser.set_defaults(
        run=lambda o: _send(
            o, "task.answer", task=o.task, text=o.text, question=o.question, agent=o.agent
        )
    )


def add_questions(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task questions`."""
    parser.add_argument("task", metavar="ID", nargs="?", help="of one task; of all if left out")
    parser.add_argument("--all", action="store_true", help="also those that are not open")
    parser.set_defaults(run=questions)


def questions(options: argparse.Namespace) -> int:
    """List questions with their answers."""
    output = Output(options)
    with connect(options) as client:
        if options.task is None:
            tasks = client.call("task.list", limit=100_000)["tasks"]
        else:
            tasks = [client.call("task.show", task=options.task)["task"]]
    found = [
        {"task": task["id"], **question}
        for task in tasks
        for question in task["questions"]
        if options.all or options.task is not None or question["state"] == "open"
    ]
    if output.as_json:
        output.document({"questions": found})
    else:
        output.table(("TASK", *QUESTION_HEADERS), [_question_row(each) for each in found])
    return exit_codes.OK


def _question_row(question: Mapping[str, Any]) -> tuple[Any, ...]:
    answers = "; ".join(said["text"] for said in question["answers"])
    return (
        question["task"],
        question["question"][:12],
        question["state"],
        question["name"],
        question["text"],
        answers or None,
    )


# --- reviews and operators


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task verify`."""
    parser.add_argument("verdict", choices=("accept", "refuse"), help="whether the result counts")
    _task(parser)
    parser.add_argument("reason", metavar="REASON", nargs="?", default="", help="shown to all")
    _agent(parser)
    parser.set_defaults(
        run=lambda o: _send(
            o,
            "task.review",
            task=o.task,
            accept=o.verdict == "accept",
            reason=o.reason,
            agent=o.agent,
        )
    )


def add_reopen(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task reopen`."""
    _task(parser)
    parser.add_argument(
        "--request-id", metavar="ID", help="the same id again submits nothing again"
    )
    parser.set_defaults(run=lambda o: _send(o, "task.reopen", task=o.task, request_id=o.request_id))


def add_release(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh task release`."""
    parser.add_argument(
        "handle", metavar="HANDLE|ID", help="from `mesh task claim`; with --force a task id"
    )
    parser.add_argument(
        "--put-off", metavar="T", type=duration_s, help="nobody gets it before that"
    )
    parser.add_argument(
        "--force", action="store_true", help="take it from its owner, as submitter or admin"
    )
    parser.add_argument("--reason", metavar="TEXT", help="why, with --force")
    parser.set_defaults(run=release)


def release(options: argparse.Namespace) -> int:
    """Give a task back, or take it from its owner."""
    if options.force:
        return _send(options, "task.force_release", task=options.handle, reason=options.reason)
    if options.reason is not None:
        raise Refused("usage", "--reason goes with --force", "leave it out, or decline the task")
    return _send(options, "task.release", handle=options.handle, put_off_s=options.put_off)
