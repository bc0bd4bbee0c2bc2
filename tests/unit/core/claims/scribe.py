"""Nodes of a story that write verified facts at once: real ids, no signatures."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from mesh.core.claims.allocation import claim_rank
from mesh.core.claims.exchange_facts import (
    Accept,
    Answer,
    Decline,
    Offer,
    Question,
    Release,
    Review,
)
from mesh.core.claims.facts import (
    Attempt,
    AttemptKind,
    Cancel,
    Claim,
    Evidence,
    Progress,
    ProgressState,
    Result,
    Spec,
    TaskFact,
)
from mesh.core.claims.forgotten import Forget, ForgetBoots
from mesh.core.claims.keyed import ForgetKey
from mesh.core.claims.table import Table
from mesh.core.identity import (
    Boot,
    FactId,
    MeshId,
    NodeId,
    PublicKey,
    TaskId,
    dot_task_id,
    node_id,
)
from mesh.core.params import ClaimParams
from mesh.core.wire.envelope import SignedFact, Verified, leaf_hash

MESH = MeshId(b"m" * 32)
BOOT = Boot(7)
AnyTaskFact = TypeVar("AnyTaskFact", bound=TaskFact | Forget | ForgetBoots | ForgetKey)


@dataclass(frozen=True)
class Scribe:
    """One node, by a letter."""

    letter: str

    @cached_property
    def key(self) -> PublicKey:
        return PublicKey(self.letter.encode() * 32)

    @cached_property
    def id(self) -> NodeId:
        return node_id(self.key)

    def write(self, fact: AnyTaskFact) -> Verified[AnyTaskFact]:
        """Return any fact in this node's name."""
        payload = fact.encode()
        id_ = leaf_hash(MESH, fact.CONTEXT, self.key, payload)
        signed = SignedFact(id_, self.key, bytes(64), 0, 1, (), fact.CONTEXT, payload)
        return Verified(fact, signed, self.id)

    def spec(
        self,
        number: int = 1,
        *,
        kind: str = "build",
        created_ms: int = 0,
        attempts: int = 3,
        payload: bytes = b"",
        **more: Any,  # noqa: ANN401  further fields of a spec
    ) -> Verified[Spec]:
        task = dot_task_id(self.id, BOOT, number)
        return self.write(Spec(task, kind, payload, created_ms, attempts, 0, None, b"", **more))

    def claim(
        self,
        spec: Verified[Spec],
        *,
        nonce: int = 0,
        after: Verified[Claim] | None = None,
        because: FactId | None = None,
        boot: int = BOOT,
        agent: str = "agent",
    ) -> Verified[Claim]:
        task = spec.fact.task
        epoch = 1 if after is None else after.fact.epoch + 1
        rank = claim_rank(task, epoch, self.id)
        before = after.id if after else None
        number = nonce.to_bytes(8, "big")
        return self.write(
            Claim(task, spec.id, epoch, rank, Boot(boot), agent, number, before, because)
        )

    def progress(
        self,
        claim: Verified[Claim],
        state: int = ProgressState.STARTED,
        number: int = 1,
        boot: int = BOOT,
    ) -> Verified[Progress]:
        return self.write(Progress(claim.fact.task, claim.id, Boot(boot), number, int(state), b""))

    def release(self, claim: Verified[Claim], number: int = 9) -> Verified[Progress]:
        return self.progress(claim, ProgressState.RELEASED, number)

    def attempt(
        self, claim: Verified[Claim], kind: int = AttemptKind.FAILED, error: bytes = b""
    ) -> Verified[Attempt]:
        return self.write(Attempt(claim.fact.task, claim.id, int(kind), error))

    def result(self, claim: Verified[Claim], output: bytes = b"done") -> Verified[Result]:
        digest = hashlib.blake2b(output, digest_size=32).digest()
        return self.write(Result(claim.fact.task, claim.id, output, digest))

    def cancel(self, spec: Verified[Spec]) -> Verified[Cancel]:
        return self.write(Cancel(spec.fact.task, spec.id))

    def offer(
        self,
        claim: Verified[Claim],
        to: "Scribe | None" = None,
        *,
        agent: str = "",
        number: int = 5,
        context: bytes = b"",
        withdrawn: bool = False,
    ) -> Verified[Offer]:
        node = None if to is None else to.id
        fact = Offer(claim.fact.task, claim.id, BOOT, number, node, agent, context, None, withdrawn)
        return self.write(fact)

    def accept(self, offer: Verified[Offer], agent: str = "agent") -> Verified[Accept]:
        return self.write(Accept(offer.fact.task, offer.id, BOOT, agent))

    def turn_down(self, offer: Verified[Offer], agent: str = "agent") -> Verified[Decline]:
        return self.write(Decline(offer.fact.task, offer.id, agent, b"busy"))

    def question(
        self, claim: Verified[Claim], number: int = 4, limit_ms: int | None = None
    ) -> Verified[Question]:
        return self.write(Question(claim.fact.task, claim.id, BOOT, number, 0, limit_ms, b"why?"))

    def answer(self, question: Verified[Question], *, timed_out: bool = False) -> Verified[Answer]:
        text = b"" if timed_out else b"because"
        return self.write(Answer(question.fact.task, question.id, "agent", text, timed_out))

    def review(
        self, result: Verified[Result], accepted: bool = True, agent: str = "agent"
    ) -> Verified[Review]:
        return self.write(Review(result.fact.task, result.id, accepted, agent, b""))

    def free(self, claim: Verified[Claim], not_before_ms: int | None = None) -> Verified[Release]:
        """Return a release, as an operator makes it."""
        return self.write(Release(claim.fact.task, claim.id, not_before_ms, b""))

    def gone(self, *, ended_boot: int = BOOT, mark: bytes = b"e") -> Evidence:
        """Return evidence that this node's boots up to one are over."""
        id_ = FactId(hashlib.blake2b(mark + self.id, digest_size=32).digest())
        return Evidence(id_, self.id, Boot(ended_boot), local=False, kind="verdict")


ANN, BOB, CAT, DAN = (Scribe(letter) for letter in "abcd")


def ranked(task: TaskId, epoch: int = 1, *scribes: Scribe) -> list[Scribe]:
    """Return the scribes by their rank in one epoch, the winner last."""
    return sorted(scribes or (ANN, BOB, CAT), key=lambda who: claim_rank(task, epoch, who.id))


def table_of(*facts: Verified[Any], admin: Scribe | None = None, **params: int) -> Table:
    """Return a table that holds these facts."""
    table = Table(MESH, ClaimParams(**params), lambda node: admin is not None and node == admin.id)
    for fact in facts:
        table.check(fact)
        table.add(fact)
    return table
