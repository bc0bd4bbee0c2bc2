"""Which words on progress are kept is a function of the set; nothing follows from the others."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.claims.facts import Progress, ProgressState
from mesh.core.claims.pruning import PASSING_STATES, PROGRESS_KEPT, superseded
from mesh.core.claims.record import derive
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import Boot
from mesh.core.wire.envelope import Verified
from tests.unit.core.claims.scribe import ANN, BOB, CAT

SPEC = ANN.spec()
CLAIMS = (BOB.claim(SPEC), CAT.claim(SPEC))
WORDS = st.lists(
    st.tuples(
        st.sampled_from(CLAIMS),
        st.sampled_from((BOB, CAT)),
        st.integers(1, 2),
        st.integers(1, 40),
        st.sampled_from((*PASSING_STATES, *PASSING_STATES, *ProgressState)),
        st.sampled_from((b"", b"", b"here")),
    ),
    max_size=90,
)


def pruned(facts: list[Verified[Any]]) -> TaskFacts:
    """Return the facts without those that need not be kept."""
    held = TaskFacts(SPEC.fact.task, facts)
    gone = {verified.id: None for verified in superseded(held)}
    return TaskFacts(SPEC.fact.task, [each for each in held if each.id not in gone])


@settings(deadline=None)
@given(WORDS, st.randoms(use_true_random=False))
def test_the_same_is_kept_however_it_comes_and_the_record_is_the_same(
    words: list[tuple[Any, ...]], rng: random.Random
) -> None:
    said: list[Verified[Any]] = [
        author.write(
            Progress(claim.fact.task, claim.id, Boot(boot), number, int(state), b"", checkpoint)
        )
        for claim, author, boot, number, state, checkpoint in words
    ]
    facts = [SPEC, *CLAIMS, *said]
    at_once = pruned(facts)
    rng.shuffle(facts)
    one_by_one = TaskFacts(SPEC.fact.task)
    for verified in facts:
        one_by_one = pruned([*one_by_one, verified])
    assert one_by_one == at_once
    middle = len(facts) // 2
    assert pruned([*pruned(facts[:middle]), *pruned(facts[middle:])]) == at_once
    assert superseded(at_once) == []
    assert derive(at_once, {}) == derive(TaskFacts(SPEC.fact.task, facts), {})
    passing = [each for each in at_once if isinstance(each.fact, Progress)]
    passing = [each for each in passing if each.fact.state in PASSING_STATES]
    assert len(passing) <= len(CLAIMS) * 2 * (PROGRESS_KEPT + 1)
