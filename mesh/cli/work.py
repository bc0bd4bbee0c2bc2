"""`mesh work`: any program is an agent."""

import argparse
import os
import shutil
import signal
import socket
from contextlib import AsyncExitStack

from mesh.cli import exit_codes
from mesh.cli.options import add_socket, chosen_socket, connect
from mesh.cli.output import escape, say
from mesh.cli.values import command_line, count, duration_s, score
from mesh.control.client import Refused

GRACE_S = 30.0
NAME_MAX = 64
JOBS_MAX = 1024
"""As many tasks as a node lets one agent hold."""
SCORE_OUTPUT_BYTES_MAX = 4096
SCORE_GRACE_S = 0.2
"""A program that has taken too long over a score is of no use any more."""
PASSING = ("not_joined", "leaving")


def add_work(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh work`."""
    add_socket(parser)
    parser.add_argument(
        "--kind", metavar="KIND", action="append", required=True, help="kinds of task to work on"
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="start the command once per job and give it a line of JSON per task",
    )
    parser.add_argument("--jobs", metavar="N", type=count, default=1, help="at a time (1)")
    parser.add_argument(
        "--name", metavar="NAME", help="of this agent; host and process if left out"
    )
    parser.add_argument(
        "--grace",
        metavar="T",
        type=duration_s,
        default=GRACE_S,
        help="between SIGTERM and SIGKILL, when a task is lost or canceled (30s)",
    )
    bids = parser.add_mutually_exclusive_group()
    bids.add_argument(
        "--score",
        metavar="N",
        type=score,
        help="what to bid in auctions, 0 to 65535 (1000 for each preferred tag of the node)",
    )
    bids.add_argument(
        "--score-command",
        metavar="PROGRAM",
        type=command_line,
        help="given a line of JSON for each auctioned task, prints what to bid for it; exit 75, "
        "or anything amiss: no bid",
    )
    parser.add_argument(
        "program",
        metavar="-- CMD ARGS",
        nargs="+",
        help="given the payload on stdin; exit 0: its stdout is the result, 75: give back, "
        "else: failed",
    )
    parser.set_defaults(run=work)


def work(options: argparse.Namespace) -> int:
    """Run a command once per task until SIGTERM or SIGINT; a second one stops what runs."""
    for program in (options.program, options.score_command or options.program):
        if shutil.which(program[0]) is None:
            hint = "give the path of a program, or put it on PATH"
            raise Refused("usage", f"{program[0]} was not found, or may not be run", hint)
    if options.jobs > JOBS_MAX:
        hint = "start `mesh work` more than once"
        raise Refused("usage", f"{options.jobs} jobs, one agent has at most {JOBS_MAX}", hint)
    with connect(options) as client:
        # Whether this user may work here is better known now than in a loop.
        try:
            client.call("node.id")
        except Refused as refused:
            if refused.name not in PASSING:
                raise
    import trio

    refusal = trio.run(_work, options)
    if refusal is not None:
        raise refusal
    return exit_codes.OK


async def _work(options: argparse.Namespace) -> Refused | None:
    import trio

    from mesh.cli.bidding import Bidding
    from mesh.cli.worker import Worker, WorkOptions
    from mesh.daemon.conversation import StreamRunner
    from mesh.daemon.runner import Runner, RunnerBounds

    scoring = RunnerBounds(output_bytes_max=SCORE_OUTPUT_BYTES_MAX, grace_s=SCORE_GRACE_S)
    own_name = f"{socket.gethostname()}-{os.getpid()}"[-NAME_MAX:]
    wanted = WorkOptions(
        socket=chosen_socket(options),
        kinds=tuple(options.kind),
        command=tuple(options.program),
        jobs=options.jobs,
        name=options.name or own_name,
        score=options.score,
    )

    def tell(line: str) -> None:
        say(f"mesh work: {escape(line)}")

    refusal = None
    bounds = RunnerBounds(grace_s=options.grace)
    runs = StreamRunner(bounds, tell) if options.stream else Runner(bounds)
    async with AsyncExitStack() as stack:
        runner = await stack.enter_async_context(runs)
        bidding = None
        if options.score_command is not None:
            scorer = await stack.enter_async_context(Runner(scoring))
            bidding = Bidding(options.score_command, wanted.socket, scorer, tell)
        worker = Worker(wanted, runner, tell, bidding)
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

                async def obey() -> None:
                    async for _ in signals:
                        worker.drain()

                nursery.start_soon(obey)
                refusal = await worker.run()
                nursery.cancel_scope.cancel()
    return refusal
