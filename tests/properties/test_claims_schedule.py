"""Tags, scores and slots in claims: pure and monotone like everything else about a record."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.claims.allocation import bid_rank
from mesh.core.claims.facts import Allocation, Evidence
from mesh.core.claims.record import derive, token_key
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import Boot, FactId
from mesh.core.wire.envelope import Verified
from tests.unit.core.claims.scribe import ANN, BOB, BOOT, CAT, Scribe

WHO = (ANN, BOB, CAT)
TAGS = ((), (("gpu", "a"),), (("gpu", "b"), ("os", "x")))
SPECS = tuple(
    ANN.spec(requires=requires, limit=limit, allocation=int(allocation))
    for requires in ((), (("gpu", ""),), (("gpu", "a"),))
    for limit in (None, ("db", 1), ("db", 2))
    for allocation in (Allocation.PULL, Allocation.AUCTION)
)
PROOFS = tuple(
    Evidence(FactId(bytes([16 * i + j]) * 32), who.id, Boot(BOOT - 1), False, "restarted", tags)
    for i, who in enumerate(WHO)
    for j, tags in enumerate(TAGS)
)


@st.composite
def claims(draw: st.DrawFn) -> Verified[Any]:
    """Return a claim with any presence, score and slot, fitting or not."""
    who: Scribe = draw(st.sampled_from(WHO))
    plain = who.claim(draw(st.sampled_from(SPECS)), nonce=draw(st.integers(0, 3))).fact
    proof = draw(st.sampled_from((None, *PROOFS)))
    return who.write(
        replace(
            plain,
            presence=None if proof is None else proof.id,
            slot=draw(st.sampled_from((None, 0, 1))),
            rank=bid_rank(draw(st.sampled_from((0, 7))), plain.rank),
        )
    )


def is_fit(claim: Verified[Any]) -> bool:
    """Whether a claim has what its spec asks for: the rule once more, with no eye on speed."""
    spec = next(spec.fact for spec in SPECS if spec.id == claim.fact.spec)
    proof = next((proof for proof in PROOFS if proof.id == claim.fact.presence), None)
    tags = {} if proof is None or proof.subject != claim.author else dict(proof.tags)
    for tag, value in spec.requires:
        if tag not in tags or value not in ("", tags[tag]):
            return False
    if claim.fact.rank >> 48 and spec.allocation != Allocation.AUCTION:
        return False
    slots = 0 if spec.limit is None else spec.limit[1]
    return claim.fact.slot is None if not slots else claim.fact.slot in range(slots)


@settings(max_examples=150, deadline=None)
@given(st.lists(claims(), max_size=6), st.randoms(use_true_random=False))
def test_a_claim_counts_exactly_if_it_has_what_its_spec_asks_for(
    made: list[Verified[Any]],
    chance: Any,  # noqa: ANN401  hypothesis' own Random
) -> None:
    facts = [*SPECS, *made]
    chance.shuffle(facts)
    task, evidence = SPECS[0].fact.task, {proof.id: proof for proof in PROOFS}
    record = derive(TaskFacts(task, facts), evidence)
    fit = {claim.id for claim in made if is_fit(claim)}
    assert {view.fact.id for view in record.claims if view.valid} == fit
    owner = max((c for c in made if c.id in fit), key=lambda c: (token_key(c), c.id), default=None)
    assert (record.owner.fact if record.owner else None) == owner
    before: set[FactId] = set()
    for count in range(len(facts) + 1):
        known = derive(TaskFacts(task, facts[:count]), evidence)
        valid = {view.fact.id for view in known.claims if view.valid}
        assert before <= valid, "more facts never take a claim back"
        before = valid
    without = derive(TaskFacts(task, facts), {})
    needed = {spec.id for spec in SPECS if spec.fact.requires}
    assert not any(view.valid and view.fact.fact.spec in needed for view in without.claims)
