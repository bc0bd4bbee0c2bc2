"""A crew of processes that shares out independent pieces of work, one piece at a time.

Each worker hangs on a pipe of its own, whose other end only this process holds: when this process
ends, however it ends, its workers read the end of their pipe and end too. Workers ignore Ctrl-C;
leaving `work_through` early, by an exception or by closing it, ends them at once.
"""

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
Made = TypeVar("Made")


class WorkFailed(Exception):  # noqa: N818  it says what happened
    """A piece of work raised, or its process was killed or ran out of memory; the text says."""


@dataclass(slots=True, eq=False)
class Worker(Generic[Piece]):
    """One process, the pipe to it, and what it works on."""

    process: SpawnProcess
    pipe: Connection
    piece: Piece


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def work_through(
    do: Callable[[Piece], Made], pieces: Iterable[Piece], jobs: int
) -> Generator[tuple[Piece, Made], None, None]:
    """Yield every piece with what was made of it, in the order in which they are done.

    A piece is taken when somebody is free for it: there may be no end of them. With one job all is
    done in this process. Otherwise `do`, the pieces and what is made of them must be such as can be
    pickled. Raises WorkFailed.
    """
    if jobs == 1:
        for piece in pieces:
            yield piece, do(piece)
        return
    waiting = iter(pieces)
    crew: dict[Connection, Worker[Piece]] = {}
    try:
        with _interrupts_held():
            for piece in islice(waiting, jobs):
                worker = _hire(do, piece)
                crew[worker.pipe] = worker
        while crew:
            for pipe in wait(list(crew)):
                assert isinstance(pipe, Connection)
                worker = crew[pipe]
                yield worker.piece, _taken(worker)
                following = next(waiting, None)
                if following is None:
                    del crew[pipe]
                    _dismiss(worker)
                else:
                    worker.piece = following
                    pipe.send(following)
    finally:
        for worker in crew.values():
            worker.process.terminate()
            _dismiss(worker)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; processes born meanwhile never hear of it at all."""
    # The tracker of `multiprocessing` lets signals through again when it starts: so before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hire(do: Callable[[Piece], Made], piece: Piece) -> Worker[Piece]:
    # Spawned, not forked: a fork would inherit the pipes of the workers before it.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(do, theirs), daemon=True)
    process.start()
    theirs.close()
    ours.send(piece)
    return Worker(process, ours, piece)


def _dismiss(worker: Worker[Piece]) -> None:
    worker.pipe.close()
    worker.process.join()


def _taken(worker: Worker[Piece]) -> Made:  # type: ignore[type-var]  # what comes through a pipe has no type
    try:
        failure, made = worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        code = worker.process.exitcode
        raise WorkFailed(f"the process for {worker.piece} ended with code {code}") from None
    if failure is not None:
        raise WorkFailed(f"{worker.piece}: {failure}")
    taken: Made = made
    return taken


def _work(do: Callable[[Piece], Made], pipe: Connection) -> None:
    """Do one piece after the other until nobody holds the other end of the pipe."""
    try:
        while True:
            piece = pipe.recv()
            try:
                pipe.send((None, do(piece)))
            except (EOFError, ConnectionError):
                raise
            except Exception:  # noqa: BLE001  raised again on the other side, as a text
                pipe.send((traceback.format_exc(), None))
    except (EOFError, ConnectionError):
        return
