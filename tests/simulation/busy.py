"""A node with a long past: many facts of its own, as if the mesh had held them for days."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.facts import Claim, Progress, ProgressState, Result, Spec
from mesh.core.gossip.gossip import Family
from mesh.core.identity import Boot, dot_task_id
from mesh.core.node.participant import Participant
from mesh.core.wire.envelope import BATCH_FACTS_MAX, Fact, Verified

A_BOOT = Boot(1)
"""Before any boot of the simulator."""
EMPTY_DIGEST = bytes.fromhex("0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8")


def past_of(
    author: Participant, facts: int, per_task: int = 4, first: int = 1
) -> list[Verified[Any]]:
    """Return facts of tasks that a node submitted, claimed, worked on and completed by itself."""
    made: list[Verified[Any]] = []
    for number in count(first):
        if len(made) >= facts:
            return made
        task = dot_task_id(author.author.id, A_BOOT, number)
        [spec] = author.author.sign([Spec(task, "past", b"", number, 3, 0, None, b"")])
        rank = claim_rank(task, 1, author.author.id)
        wish = Claim(task, spec.id, 1, rank, A_BOOT, "agent", bytes(8), None, None)
        [claim] = author.author.sign([wish])
        steps: list[Fact] = [
            Progress(task, claim.id, A_BOOT, step, ProgressState.STARTED, b"")
            for step in range(1, per_task - 2)
        ]
        steps.append(Result(task, claim.id, b"", EMPTY_DIGEST))
        made += [spec, claim]
        for some in batches(steps):
            made += author.author.sign(some)
    raise AssertionError


def batches(facts: Sequence[Fact]) -> Iterator[list[Fact]]:
    """Cut what is to be signed."""
    for start in range(0, len(facts), BATCH_FACTS_MAX):
        yield list(facts[start : start + BATCH_FACTS_MAX])


def remember(member: Participant, facts: Sequence[Verified[Any]]) -> None:
    """Let a node hold these facts, as if it had taken them in before."""
    for verified in facts:
        member.table.check(verified)
        member.table.restore(verified)
        member.gossip.restore(Family.TASKS, verified)
    for task in member.table.tasks():
        member.table.record(task)
