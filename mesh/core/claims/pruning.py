"""Words on the progress of a claim that newer ones have made needless: a bounded history is kept.

Nothing follows from such a word but what people read in the history. Which ones go is a function
of the set of facts alone: of each author's words on one claim the newest stay, and the newest with
a checkpoint. So everybody drops the same ones, in whatever order they came, and what was dropped
early is never missed.
"""

from mesh.core.claims.facts import Progress, ProgressState
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import FactId, NodeId
from mesh.core.wire.envelope import Verified

PROGRESS_KEPT = 16
"""The same everywhere: nodes that keep more than others would compare for ever."""
PASSING_STATES = (ProgressState.RUNNING, ProgressState.SUSPENDED)
"""That a claim was started, or is released, stays: attempts are counted by it."""


def superseded(facts: TaskFacts) -> list[Verified[Progress]]:
    """Return the facts about a task that need not be kept."""
    if len(facts) <= PROGRESS_KEPT:
        return []
    said: dict[tuple[FactId, NodeId], list[Verified[Progress]]] = {}
    for verified in facts:
        if isinstance(verified.fact, Progress) and verified.fact.state in PASSING_STATES:
            said.setdefault((verified.fact.claim, verified.author), []).append(verified)
    gone = []
    for words in said.values():
        if len(words) > PROGRESS_KEPT:
            words.sort(key=_by_number)
            left = [word for word in words if _is_checkpoint(word.fact)][-1:]
            gone += [word for word in words[:-PROGRESS_KEPT] if word not in left]
    return gone


def _by_number(verified: Verified[Progress]) -> tuple[int, int, FactId]:
    return verified.fact.boot, verified.fact.number, verified.id


def _is_checkpoint(fact: Progress) -> bool:
    return bool(fact.checkpoint) or fact.checkpoint_blob is not None
