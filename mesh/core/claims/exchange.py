"""What nodes have said to each other about a task, read from its set of facts like all the rest.

Whether somebody's word counts depends on the facts that it cites and on nothing else, so what has
come to count goes on to count whatever is added: an accept, a refusing review and a release end a
claim for good, and a result that was accepted stays so.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.core.claims.exchange_facts import (
    Accept,
    Answer,
    Decline,
    ExchangeFact,
    Offer,
    Question,
    Release,
    Review,
)
from mesh.core.claims.facts import Claim, Result, Spec
from mesh.core.claims.task_facts import TaskFacts
from mesh.core.identity import FactId, NodeId
from mesh.core.wire.envelope import Verified


@dataclass(frozen=True, slots=True)
class OfferView:
    """An offer by a claim's author, and what was said to it."""

    fact: Verified[Offer]
    accepts: tuple[Verified[Accept], ...]
    """Of those who were meant."""
    declines: tuple[Verified[Decline], ...]


@dataclass(frozen=True, slots=True)
class QuestionView:
    """A question by a claim's author, and what was said to it."""

    fact: Verified[Question]
    answers: tuple[Verified[Answer], ...]
    timed_out: bool
    """Its asker's node has written that it waits no longer."""

    @property
    def is_open(self) -> bool:
        """Whether it is still waited for an answer."""
        return not self.answers and not self.timed_out


@dataclass(frozen=True, slots=True)
class Exchange:
    """All of it; each part by id but for offers and questions, which stand by (boot, number)."""

    offers: tuple[OfferView, ...] = ()
    questions: tuple[QuestionView, ...] = ()
    reviews: tuple[Verified[Review], ...] = ()
    """By others than the result's author."""
    releases: tuple[Verified[Release], ...] = ()

    def offer_on(self, claim: FactId) -> OfferView | None:
        """Return the offer that stands on a claim."""
        made = [view for view in self.offers if view.fact.fact.claim == claim]
        return made[-1] if made and not made[-1].fact.fact.withdrawn else None

    def open_questions(self, claim: FactId) -> list[QuestionView]:
        """Return what the author of a claim still wants to know."""
        return [q for q in self.questions if q.fact.fact.claim == claim and q.is_open]


NOTHING_SAID = Exchange()
Chapter = tuple[int, int, int, int, FactId]


@dataclass(slots=True)
class Talk:
    """The exchange facts of one task, and what they may stand on."""

    facts: TaskFacts
    specs: Mapping[FactId, Verified[Spec]]
    is_admin: Callable[[NodeId], bool]
    said: list[Verified[ExchangeFact]] = field(default_factory=list)

    # --- what ends a claim, or completes a task

    def ends(self, reason: Verified[Any], before: Verified[Claim], claim: Verified[Claim]) -> bool:
        """Whether an exchange fact lets one claim supersede another."""
        fact = reason.fact
        if isinstance(fact, Accept):
            offer = self._offer(reason)
            return (
                offer is not None
                and offer.fact.claim == before.id
                and offer.author == before.author
                and reason.author == claim.author
                and fact.agent == claim.fact.agent
            )
        return self.ended(reason) == before.id

    def ended(self, said: Verified[Any]) -> FactId | None:
        """Return the claim that a release or a refusing review has ended."""
        fact = said.fact
        if isinstance(fact, Release):
            claim = self._claim(fact.claim)
            return claim.id if claim is not None and self._may_release(said, claim) else None
        if isinstance(fact, Review) and not fact.accepted:
            result = self._reviewed(said)
            return None if result is None else result.fact.claim
        return None

    def is_accepted(self, result: Verified[Result], claim: Verified[Claim]) -> bool:
        """Whether a result counts: so many others have accepted it as its task's spec wants."""
        wanted = self.specs[claim.fact.spec].fact.verify
        if not wanted:
            return True
        by = {
            said.author: None
            for said in self.said
            if isinstance(said.fact, Review)
            and said.fact.accepted
            and said.fact.result == result.id
            and said.author != result.author
        }
        return len(by) >= wanted

    def ends_by_claim(self) -> dict[FactId, list[Verified[Any]]]:
        """Return the releases and refusing reviews that count, by the claim that they end."""
        ends: dict[FactId, list[Verified[Any]]] = {}
        for said in self.said:
            claim = self.ended(said)
            if claim is not None:
                ends.setdefault(claim, []).append(said)
        return ends

    def _may_release(self, said: Verified[Any], claim: Verified[Claim]) -> bool:
        by = said.author
        submitters = [spec.author for spec in self.specs.values()]
        return by == claim.author or by in submitters or self.is_admin(by)

    def _claim(self, id_: FactId) -> Verified[Claim] | None:
        found = self.facts.get(id_)
        return found if found is not None and isinstance(found.fact, Claim) else None

    def _offer(self, said: Verified[Any]) -> Verified[Offer] | None:
        """Return the offer that an accept or a decline answers, if its author was meant."""
        offer = self.facts.get(said.fact.offer)
        if offer is None or not isinstance(offer.fact, Offer) or offer.fact.withdrawn:
            return None
        if offer.fact.to is not None and offer.fact.to != said.author:
            return None
        return offer if offer.fact.agent in {"", said.fact.agent} else None

    def _reviewed(self, said: Verified[Any]) -> Verified[Result] | None:
        """Return the result that a review is about, if its task wants one and its author may."""
        result = self.facts.get(said.fact.result)
        if result is None or not isinstance(result.fact, Result) or result.author == said.author:
            return None
        claim = self._claim(result.fact.claim)
        if claim is None or claim.author != result.author:
            return None
        spec = self.specs.get(claim.fact.spec)
        return result if spec is not None and spec.fact.verify else None

    # --- for people

    def claim_of(self, said: Verified[Any]) -> FactId | None:
        """Return the claim that an exchange fact is about, in the end."""
        at: Verified[Any] | None = said
        while at is not None and isinstance(at.fact, ExchangeFact):
            at = self.facts.get(at.fact.cited)
        if at is None:
            return None
        return at.fact.claim if isinstance(at.fact, Result) else at.id

    def chapter(self, said: Verified[Any]) -> Chapter:
        """Return the place of an exchange fact among what was said about its claim."""
        fact, about = said.fact, self.facts.get(said.fact.cited)
        if isinstance(fact, Offer | Question):
            return (0, fact.boot, fact.number, 0, said.id)
        if about is not None and isinstance(about.fact, Offer | Question):
            return (0, about.fact.boot, about.fact.number, 1, said.id)
        return (1 if isinstance(fact, Release) else 3, 0, 0, 0, said.id)

    def exchange(self) -> Exchange:
        """Return all that counts."""
        if not self.said:
            return NOTHING_SAID
        told: list[Verified[Any]] = sorted(self.said, key=lambda said: said.id)
        return Exchange(
            offers=tuple(self._offers(told)),
            questions=tuple(self._questions(told)),
            reviews=tuple(
                said
                for said in told
                if isinstance(said.fact, Review) and self._reviewed(said) is not None
            ),
            releases=tuple(
                said
                for said in told
                if isinstance(said.fact, Release) and self.ended(said) is not None
            ),
        )

    def _offers(self, told: list[Verified[Any]]) -> Iterable[OfferView]:
        for offer in self._by_owner(told, Offer):
            meant = [
                said
                for said in told
                if isinstance(said.fact, Accept | Decline)
                and said.fact.offer == offer.id
                and self._offer(said) is not None
            ]
            accepts = tuple(said for said in meant if isinstance(said.fact, Accept))
            declines = tuple(said for said in meant if isinstance(said.fact, Decline))
            yield OfferView(offer, accepts, declines)

    def _questions(self, told: list[Verified[Any]]) -> Iterable[QuestionView]:
        for question in self._by_owner(told, Question):
            said = [
                answer
                for answer in told
                if isinstance(answer.fact, Answer) and answer.fact.question == question.id
            ]
            answers = tuple(answer for answer in said if not answer.fact.timed_out)
            over = [answer for answer in said if answer.fact.timed_out]
            timed_out = any(answer.author == question.author for answer in over)
            yield QuestionView(question, answers, timed_out)

    def _by_owner(
        self, told: list[Verified[Any]], kind: type[Offer | Question]
    ) -> list[Verified[Any]]:
        """Return the facts of a kind whose author is their claim's, in the order of telling."""
        found = []
        for said in told:
            if isinstance(said.fact, kind):
                claim = self._claim(said.fact.claim)
                if claim is not None and claim.author == said.author:
                    found.append(said)
        return sorted(found, key=lambda said: (said.fact.boot, said.fact.number, said.id))
