"""The record of a task under adversarial facts: pure, monotone, absorbing, the same everywhere.

The stories below are told by liars too: several claimants, epochs that do not follow, reasons that
prove nothing, words in somebody else's name, two specs under one id.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.exchange_facts import (
    Accept,
    ExchangeFact,
    Offer,
    Question,
    Release,
    Review,
)
from mesh.core.claims.facts import (
    Attempt,
    AttemptKind,
    Claim,
    Evidence,
    Progress,
    ProgressState,
    Result,
    Spec,
)
from mesh.core.claims.record import HELD, Record, derive, history, token_key, token_text
from mesh.core.claims.rules import check_fact
from mesh.core.claims.table import Table
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import FactId, NodeId
from mesh.core.params import ClaimParams
from mesh.core.snapshot import TaskState
from mesh.core.wire.envelope import Verified
from tests.unit.core.claims.scribe import ANN, BOB, BOOT, CAT, DAN, MESH, Scribe

CLAIMANTS = (ANN, BOB, CAT)
EVERYBODY = (*CLAIMANTS, DAN)
NOWHERE = FactId(b"n" * 32)
EVIDENCE = tuple(
    who.gone(ended_boot=ended, mark=bytes([ended]))
    for who in CLAIMANTS
    for ended in (BOOT - 1, BOOT)
)
GENEROUS = ClaimParams(claims_per_epoch_max=64)
"""A story may have one node claim one epoch again and again; the bound is not what is told here."""
ABOUT = (Claim, Claim, Offer, Question, Result)
PROPERTY = settings(max_examples=150, deadline=None)
Item = Verified[Any] | Evidence


def is_admin(node: NodeId) -> bool:
    return node == DAN.id


@dataclass
class Story:
    """The facts told so far about one task, and how to go on."""

    number: int = 1
    verify: int = 0
    facts: list[Verified[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.specs = [
            ANN.spec(self.number, attempts=attempts, verify=self.verify) for attempts in (2, 3)
        ]
        self.claims: list[Verified[Claim]] = []
        self.facts.append(self.specs[0])

    def tell(self, draw: st.DrawFn) -> None:
        steps = (
            *(self.claim, self.hand_over, self.hand_over, self.take_over),
            *(self.say, self.rare, self.talk),
        )
        fact = draw(st.sampled_from(steps))(draw)
        check_fact(fact, MESH)
        self.facts.append(fact)
        if isinstance(fact.fact, Claim):
            self.claims.append(fact)

    def hand_over(self, draw: st.DrawFn) -> Verified[Any]:
        """Return a claim that follows one of the latest, which its owner gives up before."""
        if not self.claims:
            return self.claim(draw)
        before = draw(st.sampled_from(self.claims[-2:]))
        owner = next(who for who in CLAIMANTS if who.id == before.author)
        end = draw(st.sampled_from((owner.release(before), owner.attempt(before))))
        self.facts.append(end)
        who = draw(st.sampled_from(CLAIMANTS))
        return who.claim(self.specs[0], after=before, because=end.id)

    def claim(self, draw: st.DrawFn) -> Verified[Any]:
        who, spec = draw(st.sampled_from(CLAIMANTS)), draw(st.sampled_from(self.specs))
        return who.claim(spec, nonce=draw(st.integers(0, 1)))

    def take_over(self, draw: st.DrawFn) -> Verified[Any]:
        """Return a claim of a later epoch, often for a reason that does not hold."""
        if not self.claims:
            return self.claim(draw)
        before = draw(st.sampled_from(self.claims))
        ends = [fact.id for fact in self.facts if getattr(fact.fact, "claim", None) == before.id]
        proofs = [proof.id for proof in EVIDENCE if proof.subject == before.author]
        others = [fact.id for fact in self.facts] + [proof.id for proof in EVIDENCE] + [NOWHERE]
        because = draw(st.sampled_from(draw(st.sampled_from((ends or proofs, proofs, others)))))
        who = draw(st.sampled_from(CLAIMANTS))
        claim = who.claim(self.specs[0], after=before, because=because)
        jump = draw(st.sampled_from((0, 0, 0, 1)))
        epoch = claim.fact.epoch + jump
        rank = claim_rank(claim.fact.task, epoch, who.id)
        return who.write(replace(claim.fact, epoch=epoch, rank=rank))

    def say(self, draw: st.DrawFn) -> Verified[Any]:
        """Return what somebody, mostly the claimant, says about a claim."""
        if not self.claims:
            return self.claim(draw)
        claim = draw(st.sampled_from(self.claims))
        own = next(who for who in CLAIMANTS if who.id == claim.author)
        who = draw(st.sampled_from((own, own, own, *EVERYBODY)))
        kind = draw(st.sampled_from((*ProgressState, *AttemptKind)))
        if isinstance(kind, AttemptKind):
            return who.attempt(claim, kind)
        return who.progress(claim, kind, draw(st.integers(0, 3)), draw(st.integers(6, 8)))

    def rare(self, draw: st.DrawFn) -> Verified[Any]:
        told = draw(st.sampled_from(("spec", "cancel", "result", "elsewhere")))
        if told == "spec":
            return self.specs[1]
        if told == "cancel":
            return draw(st.sampled_from(EVERYBODY)).cancel(draw(st.sampled_from(self.specs)))
        if not self.claims:
            return self.claim(draw)
        claim = draw(st.sampled_from(self.claims))
        who = draw(st.sampled_from((ANN, BOB, CAT)))
        if told == "elsewhere":
            return who.write(replace(who.release(claim).fact, claim=NOWHERE))
        return who.result(claim, draw(st.sampled_from((b"", b"x"))))

    def talk(self, draw: st.DrawFn) -> Verified[Any]:
        """Return something said about a claim to others, or what somebody says to that."""
        about = [fact for fact in self.facts if isinstance(fact.fact, ABOUT)]
        if not about:
            return self.rare(draw)
        fact = draw(st.sampled_from(about))
        who = draw(st.sampled_from(EVERYBODY))
        match fact.fact:
            case Claim():
                own = draw(st.booleans())
                by = next((one for one in CLAIMANTS if own and one.id == fact.author), who)
                to = draw(st.sampled_from((None, *CLAIMANTS)))
                withdrawn, number = draw(st.integers(0, 4)) == 4, draw(st.integers(4, 6))
                offer = by.offer(fact, to, number=number, withdrawn=withdrawn)
                return draw(st.sampled_from((offer, by.question(fact, number), by.free(fact))))
            case Offer():
                if draw(st.booleans()):
                    return who.turn_down(fact)
                return self.take_offered(draw, fact)
            case Question():
                return who.answer(fact, timed_out=draw(st.booleans()))
            case _:
                return who.review(fact, accepted=draw(st.booleans()))

    def take_offered(self, draw: st.DrawFn, offer: Verified[Offer]) -> Verified[Any]:
        """Return an accept, with the claim that follows from it beside."""
        who = draw(st.sampled_from(CLAIMANTS))
        accept = who.accept(offer, draw(st.sampled_from(("agent", "agent", "other"))))
        before = next((claim for claim in self.claims if claim.id == offer.fact.claim), None)
        if before is not None:
            claim = who.claim(self.specs[0], after=before, because=accept.id)
            self.facts.append(claim)
            self.claims.append(claim)
        return accept


@st.composite
def stories(draw: st.DrawFn, number: int = 1) -> list[Item]:
    """Return facts about one task, and evidence, in any order and with repetitions."""
    story = Story(number, draw(st.sampled_from((0, 0, 1))))
    for _ in range(draw(st.sampled_from((1, 4, 8, 12)))):
        story.tell(draw)
    proofs = draw(st.lists(st.sampled_from(EVIDENCE), max_size=4))
    again = draw(st.lists(st.sampled_from(story.facts), max_size=3))
    items: list[Item] = [*story.facts, *again, *proofs]
    return draw(st.permutations(items))


def split(items: Iterable[Item]) -> tuple[list[Verified[Any]], dict[FactId, Evidence]]:
    """Return facts and evidence apart."""
    facts: list[Verified[Any]] = []
    evidence: dict[FactId, Evidence] = {}
    for item in items:
        if isinstance(item, Evidence):
            evidence[item.id] = item
        else:
            facts.append(item)
    return facts, evidence


def read(items: Iterable[Item]) -> Record:
    facts, evidence = split(items)
    task = ANN.spec().fact.task
    return derive(TaskFacts(task, facts), evidence, is_admin)


def new_table() -> Table:
    return Table(MESH, GENEROUS, is_admin)


def put(table: Table, item: Item) -> None:
    if isinstance(item, Evidence):
        table.add_evidence(item)
    else:
        table.add(item)


# ---- an oracle: the rules once more, as the document states them, with no eye on speed


def oracle_valid(
    claim: Verified[Claim], held: dict[FactId, Verified[Any]], evidence: dict[FactId, Evidence]
) -> bool:
    fact = claim.fact
    spec = held.get(fact.spec)
    if spec is None or not isinstance(spec.fact, Spec):
        return False
    if fact.epoch == 1:
        return True
    before = held.get(fact.supersedes) if fact.supersedes else None
    if before is None or not isinstance(before.fact, Claim):
        return False
    if before.fact.epoch != fact.epoch - 1 or not oracle_valid(before, held, evidence):
        return False
    assert fact.because is not None
    reason, proof = held.get(fact.because), evidence.get(fact.because)
    if proof is not None:
        return proof.subject == before.author and proof.ended_boot >= before.fact.boot
    if reason is not None and isinstance(reason.fact, ExchangeFact):
        return oracle_exchanged(claim, before, reason, held)
    if reason is None or reason.author != before.author:
        return False
    if isinstance(reason.fact, Progress):
        return reason.fact.claim == before.id and reason.fact.state == ProgressState.RELEASED
    return isinstance(reason.fact, Attempt) and reason.fact.claim == before.id


def oracle_exchanged(
    claim: Verified[Claim],
    before: Verified[Claim],
    reason: Verified[Any],
    held: dict[FactId, Verified[Any]],
) -> bool:
    """Whether one claim may follow another because of what somebody said."""
    if isinstance(reason.fact, Accept):
        offer = held.get(reason.fact.offer)
        return (
            offer is not None
            and isinstance(offer.fact, Offer)
            and offer.fact.claim == before.id
            and offer.author == before.author
            and not offer.fact.withdrawn
            and offer.fact.to in (None, reason.author)
            and reason.author == claim.author
            and reason.fact.agent == claim.fact.agent
        )
    return oracle_ended(before, reason, held)


def oracle_ended(
    claim: Verified[Claim], reason: Verified[Any], held: dict[FactId, Verified[Any]]
) -> bool:
    """Whether a claim is over by somebody's release or refusing review."""
    if isinstance(reason.fact, Release):
        submitters = [fact.author for fact in held.values() if isinstance(fact.fact, Spec)]
        may = reason.author in (*submitters, claim.author) or is_admin(reason.author)
        return may and reason.fact.claim == claim.id
    if not isinstance(reason.fact, Review) or reason.fact.accepted:
        return False
    result = held.get(reason.fact.result)
    return (
        result is not None
        and isinstance(result.fact, Result)
        and result.fact.claim == claim.id
        and result.author == claim.author
        and reason.author != result.author
        and claim.fact.spec in held
        and held[claim.fact.spec].fact.verify > 0
    )


def oracle_accepted(
    result: Verified[Result], claim: Verified[Claim], held: dict[FactId, Verified[Any]]
) -> bool:
    by = {
        said.author
        for said in held.values()
        if isinstance(said.fact, Review)
        and said.fact.accepted
        and said.fact.result == result.id
        and said.author != result.author
    }
    wanted: int = held[claim.fact.spec].fact.verify
    return len(by) >= wanted


def oracle_results(
    valid: list[Verified[Claim]], held: dict[FactId, Verified[Any]]
) -> list[Verified[Result]]:
    return [
        fact
        for claim in valid
        for fact in held.values()
        if isinstance(fact.fact, Result)
        and fact.fact.claim == claim.id
        and fact.author == claim.author
        and oracle_accepted(fact, claim, held)
    ]


@PROPERTY
@given(stories())
def test_the_record_follows_the_rules_as_written(items: list[Item]) -> None:
    facts, evidence = split(items)
    held = {fact.id: fact for fact in facts}
    claims = [fact for fact in held.values() if isinstance(fact.fact, Claim)]
    valid = [claim for claim in claims if oracle_valid(claim, held, evidence)]
    record = read(items)
    assert {view.fact.id for view in record.claims if view.valid} == {claim.id for claim in valid}
    owner = record.owner.fact if record.owner else None
    assert owner == max(valid, key=lambda claim: (token_key(claim), claim.id), default=None)
    results = oracle_results(valid, held)
    found = {record.winner.id} if record.winner else set()
    assert found | {result.id for result in record.superseded} == {r.id for r in results}
    if record.winner is not None:
        tokens = {claim.id: token_key(claim) for claim in valid}
        assert tokens[record.winner.fact.claim] == max(tokens[r.fact.claim] for r in results)
    event(f"state {record.state}, epoch {record.epoch}")


# ---- purity


@PROPERTY
@given(stories(), st.randoms(use_true_random=False), st.data())
def test_equal_sets_give_equal_records(items: list[Item], chance: Any, data: st.DataObject) -> None:  # noqa: ANN401  hypothesis' own Random
    expected = read(items)
    for _ in range(2):
        order = [*items, *items[:2]]
        chance.shuffle(order)
        asked_after = set(data.draw(st.lists(st.integers(0, len(order)), max_size=5)))
        table = new_table()
        for place, item in enumerate(order):
            put(table, item)
            if place in asked_after:
                table.record(expected.task)
        assert table.record(expected.task) == expected
        facts, _ = split(items)
        assert table.facts_of(expected.task) == history(TaskFacts(expected.task, facts))


@PROPERTY
@given(stories(), st.sampled_from((*EVIDENCE, DAN.gone())))
def test_evidence_that_no_claim_cites_changes_nothing(items: list[Item], proof: Evidence) -> None:
    facts, _ = split(items)
    if not any(getattr(fact.fact, "because", None) == proof.id for fact in facts):
        assert read([*items, proof]) == read(items)


@PROPERTY
@given(stories(), st.lists(st.integers(0, 30)))
def test_batches_join_to_the_same_record(items: list[Item], cuts: list[int]) -> None:
    facts, evidence = split(items)
    task = ANN.spec().fact.task
    joined = TaskFacts(task)
    for low, high in zip([0, *sorted(cuts)], [*sorted(cuts), None], strict=True):
        joined = TaskFacts(task, facts[low:high]).join(joined)
    assert derive(joined, evidence, is_admin) == read(items)


# ---- growth


@PROPERTY
@given(stories())
def test_more_facts_never_take_anything_back(items: list[Item]) -> None:
    before = read([])
    for count in range(1, len(items) + 1):
        after = read(items[:count])
        now_valid = {view.fact.id for view in after.claims if view.valid}
        assert {view.fact.id for view in before.claims if view.valid} <= now_valid
        if before.owner is not None:
            assert after.owner is not None
            assert token_key(after.owner.fact) >= token_key(before.owner.fact)
            assert token_text(after.owner.fact) >= token_text(before.owner.fact)
        assert after.epoch >= before.epoch
        assert after.starts >= before.starts
        assert after.canceled >= before.canceled
        if before.state is TaskState.COMPLETED:
            assert after.state is TaskState.COMPLETED
            assert before.winner is not None
            assert before.winner in (after.winner, *after.superseded)
        assert set(before.superseded) <= set(after.superseded)
        before = after


@PROPERTY
@given(stories())
def test_a_live_owner_cannot_be_robbed_by_others(items: list[Item]) -> None:
    facts, evidence = split(items)
    record = read(items)
    by_id = {fact.id: fact for fact in facts}
    for view in record.claims:
        claim = view.fact.fact
        if view.valid and claim.epoch > 1:
            assert claim.supersedes is not None
            assert claim.because is not None
            robbed = by_id[claim.supersedes].author
            said, proof = by_id.get(claim.because), evidence.get(claim.because)
            if said is not None and isinstance(said.fact, ExchangeFact):
                continue
            assert (said.author if said else proof and proof.subject) == robbed


# ---- reading


@PROPERTY
@given(stories())
def test_state_and_claimable_agree(items: list[Item]) -> None:
    record = read(items)
    closed = record.winner is not None or record.canceled
    ended = record.owner is None or record.owner.ended_by is not None
    assert record.claimable == (
        record.spec is not None and not closed and ended and record.attempts_left
    )
    assert (record.holder is not None) == (not closed and not ended)
    assert (record.state in HELD) == (record.holder is not None)
    assert record.attempts_used <= record.starts


@PROPERTY
@given(stories(1), stories(2), st.randoms(use_true_random=False))
def test_indexes_agree_with_the_records(
    first: list[Item],
    second: list[Item],
    chance: Any,  # noqa: ANN401  hypothesis' own Random
) -> None:
    items = [*first, *second]
    chance.shuffle(items)
    table = new_table()
    for item in items:
        put(table, item)
        if chance.random() < 0.5:
            check_indexes(table)
    check_indexes(table)
    facts, evidence = split(items)
    waiting = {
        fact.id
        for fact in facts
        if TaskFacts(fact.fact.task, [f for f in facts if f.fact.task == fact.fact.task]).missing(
            fact, evidence
        )
    }
    assert len(table._held_back) == len(waiting)


@PROPERTY
@given(items=stories(), who=st.sampled_from(EVERYBODY), data=st.data())
def test_what_is_withdrawn_was_never_there(
    items: list[Item], who: Scribe, data: st.DataObject
) -> None:
    """A removed author's facts leave the table as if they had never come, and may come again."""
    proofs = data.draw(st.lists(st.sampled_from([item.id for item in items]), max_size=2))
    gone = {
        item.id: None
        for item in items
        if (isinstance(item, Evidence) and item.id in proofs)
        or (isinstance(item, Verified) and item.author == who.id)
    }
    table, without = new_table(), new_table()
    for item in items:
        put(table, item)
    left = [item for item in items if item.id not in gone]
    for item in left:
        put(without, item)
    before = {task: table.record(task) for task in table.tasks()}
    words = [item for item in items if isinstance(item, Verified) and item.id in gone]
    touched = table.withdraw(words)
    evidence = {id_: None for id_ in proofs if id_ in gone}
    touched += table.withdraw_evidence(evidence, table.tasks())
    tasks = list(table.tasks())
    assert sorted(tasks) == sorted(without.tasks())
    for task, record in before.items():
        assert table.record(task) == without.record(task)
        assert task in touched or table.record(task) == record
    check_indexes(table)
    for item in items:
        if item.id in gone:
            put(table, item)
    assert {task: table.record(task) for task in before} == before


def check_indexes(table: Table) -> None:
    records = [record for task in table.tasks() if (record := table.record(task))]
    for who in EVERYBODY:
        owned = {
            record.task
            for record in records
            if record.is_worked_on and record.owner
            if record.owner.fact.author == who.id
        }
        assert set(table.owned_by(who.id)) == owned


CLAIM_FIELDS = st.tuples(
    st.sampled_from(EVERYBODY),
    st.integers(1, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=8, max_size=8),
)


def claim_of(who: Scribe, epoch: int, rank: int, nonce: bytes) -> Verified[Claim]:
    fact = ANN.claim(ANN.spec()).fact
    return who.write(replace(fact, epoch=epoch, rank=rank, nonce=nonce))


@PROPERTY
@given(st.lists(CLAIM_FIELDS, min_size=2, max_size=6))
def test_token_text_sorts_like_tokens(fields: list[tuple[Scribe, int, int, bytes]]) -> None:
    claims = [claim_of(*each) for each in fields]
    by_key = sorted(claims, key=token_key)
    assert [token_text(c) for c in by_key] == sorted(token_text(c) for c in claims)
    assert len({len(token_text(claim)) for claim in claims}) == 1
