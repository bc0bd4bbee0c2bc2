"""What stands in for the real code while a bug is planted; see `catalogue`."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from mesh.core.claims.claiming import Claiming
from mesh.core.claims.desk import Desk
from mesh.core.claims.exchange import Talk
from mesh.core.claims.facts import Claim, Spec
from mesh.core.claims.openings import Opening, Openings
from mesh.core.claims.record import ClaimView, Record, _Heap
from mesh.core.claims.reporting import Reporting, Watch
from mesh.core.claims.returning import Returning
from mesh.core.claims.sessions import Holding, Phase, Sessions, handle_key
from mesh.core.claims.table import Table
from mesh.core.claims.takeover import Ended as End
from mesh.core.claims.takeover import Graces
from mesh.core.effects import ClientId, Commit, CommitNumber, Effect
from mesh.core.errors import Refusal, RemoteError
from mesh.core.gossip.messages import Section
from mesh.core.gossip.push import Acknowledger
from mesh.core.gossip.vocabulary import Want
from mesh.core.identity import Address, Boot, NodeId, TaskId, mint_boot, node_id
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.links.path import Path
from mesh.core.links.session import ReplayWindow
from mesh.core.membership.member import Ended, Member
from mesh.core.membership.membership import Membership
from mesh.core.membership.own_record import OwnRecord
from mesh.core.membership.suspicion import Outcome, Suspicion
from mesh.core.node.blame import Blame
from mesh.core.node.commits import Commits
from mesh.core.node.node import Node
from mesh.core.outbox import Outbox
from mesh.core.snapshot import TaskState
from mesh.core.trust.ranks import _Reading
from mesh.core.wire.envelope import Contexts, SignedFact, Verified, Verifier

GIVEN_UP_AFTER_S = 60.0
RANK_BITS = 48


def nothing(*_: object, **__: object) -> None:
    """Do nothing."""


def yes(*_: object, **__: object) -> bool:
    """Agree to everything."""
    return True


def no(*_: object, **__: object) -> bool:
    """Agree to nothing."""
    return False


def never(*_: object) -> Instant:
    """Return no moment at all."""
    return NEVER


def then(
    real: Callable[..., Any], also: Callable[..., object], *, before: bool = False
) -> Callable[..., Any]:
    """Return a function that does the real thing and, after or before it, something else."""

    def both(*given: Any, **named: Any) -> Any:  # noqa: ANN401  it stands in for any function
        if before:
            also(*given, **named)
        result = real(*given, **named)
        if not before:
            also(*given, **named)
        return result

    return both


# Facts and their readers


def open_unchecked(_: Verifier, signed: SignedFact, kinds: Contexts) -> Verified[Any]:
    """Decode a fact without a look at its signature."""
    if signed.context not in kinds:
        raise RemoteError(Refusal.UNKNOWN_CONTEXT, signed.context)
    fact = kinds[signed.context].decode_untrusted(signed.payload)
    return Verified(fact, signed, node_id(signed.author))


def believe_everybody(heap: _Heap) -> None:
    """Take whatever is said about a claim for the word of its owner."""
    authors = {claim.signed.id: claim.author for claim in heap.claims}
    for claim, said in heap.said.items():
        if claim in authors:
            heap.said[claim] = [replace(fact, author=authors[claim]) for fact in said]


def one_attempt_more(heap: _Heap) -> None:
    """Read every spec as if it allowed one attempt more."""
    for id_, spec in heap.specs.items():
        fact = replace(spec.fact, max_attempts=spec.fact.max_attempts + 1)
        heap.specs[id_] = replace(spec, fact=fact)


def first_come_first(heap: _Heap) -> None:
    """Within an epoch the claim that arrived here first is the greatest."""
    came = [fact.signed.id for fact in heap.facts]
    heap.claims.sort(key=lambda claim: (claim.fact.epoch, -came.index(claim.signed.id)))


def least_last(real: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Return the results in the wrong order."""
    return lambda heap, valid: real(heap, valid)[::-1]


def valid_unless(forgiven: str) -> Callable[..., bool]:
    """Return the rule for valid claims without one of its conditions, or with a wrong one."""

    def is_valid(heap: _Heap, claim: Verified[Claim], evidence: Any) -> bool:  # noqa: ANN401  a mapping
        fact = claim.fact
        if fact.epoch == 1:
            return True
        assert fact.supersedes is not None
        assert fact.because is not None
        before = heap.valid.get(fact.supersedes)
        if before is None or (forgiven != "epoch" and before.fact.epoch + 1 != fact.epoch):
            return False
        if forgiven == "because":
            return True
        reason = heap.facts.get(fact.because)
        if reason is not None:
            cited = getattr(reason.fact, "claim", None)
            return cited == before.signed.id and reason.author == before.author
        proof = evidence.get(fact.because)
        if proof is None or proof.subject != before.author:
            return False
        if forgiven == "boot":
            return True
        if forgiven == "equal boot":
            return bool(proof.ended_boot > before.fact.boot)
        return bool(proof.ended_boot >= before.fact.boot)

    return is_valid


def canceled_first(
    real: Callable[..., TaskState],
) -> Callable[..., TaskState]:
    """A cancel undoes a completion."""

    def state(owner: ClaimView | None, *, canceled: bool, **others: bool) -> TaskState:
        return TaskState.CANCELED if canceled else real(owner, canceled=canceled, **others)

    return state


class OwnRank:
    """Ranks that are no lots: the claimant's wall clock, or how much it has to do."""

    wall_s = 0.0
    claims = 0

    @classmethod
    def watch(cls, claiming: Claiming, now: Now, *_: object) -> None:
        """Notice who claims, and when."""
        cls.wall_s, cls.claims = now.wall, len(claiming.ledger.sessions)

    @classmethod
    def by_clock(cls, *_: object) -> int:
        """Return the time in milliseconds."""
        return int(cls.wall_s * 1000) % (1 << RANK_BITS)

    @classmethod
    def by_work(cls, *_: object) -> int:
        """Return how many claims the claimant holds."""
        return cls.claims


# What is said to others


def any_offer(talk: Talk, said: Verified[Any]) -> Verified[Any] | None:
    """Find the offer that is answered, whoever it was for."""
    return talk.facts.get(said.fact.offer)


def accepted_by_anybody(talk: Talk, result: Verified[Any], claim: Verified[Claim]) -> bool:
    """Count the acceptances of a result, its author's among them."""
    by = [said for said in talk.said if getattr(said.fact, "result", None) == result.id]
    return len(by) >= talk.specs[claim.fact.spec].fact.verify


def given_up_by_anybody(real: Callable[..., Any]) -> Callable[..., Any]:
    """Believe whoever says that a question is over."""

    def questions(talk: Talk, told: list[Verified[Any]]) -> Any:  # noqa: ANN401  as the real one
        over = [said.fact.question for said in told if getattr(said.fact, "timed_out", False)]
        for view in real(talk, told):
            yield replace(view, timed_out=view.timed_out or view.fact.id in over)

    return questions


def heard_once(real: Callable[..., None]) -> Callable[..., None]:
    """Begin to count a silence, and never anew."""

    def heard(reporting: Reporting, now: Now, holding: Holding, watch: Watch) -> None:
        if watch.since == now.instant:
            real(reporting, now, holding, watch)

    return heard


# The desk


def answer_at_once(desk: Desk, now: Now) -> None:
    """Take every commit for done as soon as it was asked for."""
    waits = desk._ledger.commit_waits
    while waits:
        waits.popleft().done(now)


def forget_failed(commits: Commits, _: Instant, number: CommitNumber) -> None:
    """Forget the rows of a commit that failed."""
    commits.under_way.pop(number, None)


def any_holding(sessions: Sessions, handle: str) -> Holding:
    """Find a claim by its handle, or else some other claim."""
    known = sessions.get(handle_key(handle))
    return known or sessions.live()[0]


def capacity_when_settled(sessions: Sessions, client: ClientId) -> bool:
    """Count only claims that have settled against an agent's capacity."""
    session = sessions.session(client)
    if session is None:
        return True
    held = sessions._by_client.get(client, {}).values()
    return sum(holding.phase is Phase.OWNED for holding in held) < session.capacity


def give_up_later(claiming: Claiming, now: Now, holding: Holding) -> None:
    """Put a time limit on every claim that may start."""
    if holding.phase is Phase.OWNED:
        at = later(now.instant, GIVEN_UP_AFTER_S)
        claiming.ledger.timers.set(("grace", holding.key), at)


def give_up_now(returning: Returning, now: Now, key: bytes) -> None:
    """Give a claim up although its agent is there."""
    holding = returning.ledger.sessions.get(key)
    if holding is not None and holding.is_live:
        returning._give_up(now, holding)


def rescue_the_slow(real: Callable[..., Opening | None]) -> Callable[..., Opening | None]:
    """A task that was begun a minute ago may be claimed anew, because of its spec."""
    begun: dict[tuple[NodeId, TaskId], Instant] = {}

    def opening(openings: Openings, now: Now, known: Record) -> Opening | None:
        found = real(openings, now, known)
        if found is not None or known.owner is None or known.state is not TaskState.WORKING:
            return found
        assert known.spec is not None
        since = begun.setdefault((openings.ledger.self_id, known.owner.fact.id), now.instant)  # type: ignore[arg-type]  # any id will do
        at = later(since, GIVEN_UP_AFTER_S)
        return Opening(at, known.epoch + 1, known.owner.fact.id, known.spec.id)

    return opening


def without_nonce(**fields: Any) -> Claim:  # noqa: ANN401  the fields of a claim
    """Return a claim whose nonce everybody knows."""
    return Claim(**{**fields, "nonce": bytes(8)})


def keep_evidence_back(real: Callable[..., Any]) -> Callable[..., Any]:
    """Publish facts without what they cite."""
    return lambda ledger, now, facts, want=Want.NOTHING, *_, **__: real(ledger, now, facts, want)


def without_cap(real: Callable[..., Any]) -> Callable[..., Any]:
    """File a fact as if the table had room for any number of tasks."""

    def add(table: Table, verified: Verified[Any], *, bounded: bool) -> Any:  # noqa: ANN401  as the real one
        kept, table._params = table._params, replace(table._params, tasks_max=10_000)
        try:
            return real(table, verified, bounded=bounded)
        finally:
            table._params = kept

    return add


def free_at_once(ended: End, *_: object) -> Instant:
    """Free a claim as soon as its owner is down."""
    return ended.since


def always_a_grace(ended: End, _: Spec, graces: Graces) -> Instant:
    """Give the claims of a node that left the grace of one that failed."""
    return later(ended.since, graces.orphan_s)


def boot_of_the_claim(view: ClaimView) -> Boot:
    """Return the boot in which a claim was made, wherever it lives now."""
    return view.fact.fact.boot


def only_the_present_boot(real: Callable[..., Ended | None]) -> Callable[..., Ended | None]:
    """A newer boot says nothing about claims of an older one."""

    def ended(member: Member, boot: Boot) -> Ended | None:
        return None if boot < member.presence.fact.boot else real(member, boot)

    return ended


# Gossip, links, membership


def durable_at_once(
    real: Callable[..., None],
) -> Callable[[Acknowledger, NodeId, list[Section]], None]:
    """Acknowledge a durable push without waiting for the disk."""

    def owe(owing: Acknowledger, peer: NodeId, sections: list[Section]) -> None:
        done, owing._journal.done = owing._journal.done, owing._journal.last
        real(owing, peer, sections)
        owing._journal.done = done

    return owe


def let_go_at_once(real: Callable[..., list[Effect]]) -> Callable[[Node, Now], list[Effect]]:
    """Let facts leave before they are on disk."""

    def finish(node: Node, now: Now) -> list[Effect]:
        effects = real(node, now)
        if node.participant is None:
            return effects
        for effect in effects:
            if isinstance(effect, Commit):
                node.participant.gossip.handle_committed(now, effect.number)
        return effects + real(node, now)

    return finish


def tongue_tied(real: Callable[..., None], topic: str) -> Callable[..., None]:
    """Never notify anybody of one topic."""

    def notify(outbox: Outbox, about: str, *rest: object) -> None:
        if about != topic:
            real(outbox, about, *rest)

    return notify


def off_by_one(window: ReplayWindow, counter: int) -> bool:
    """Admit the counter just behind the window, as if its bit were in it."""
    ahead = counter - window.greatest
    if ahead > 0:
        shifted = window.seen << ahead if ahead < window.size else 0
        window.seen = (shifted | 1) & ((1 << window.size) - 1)
        window.greatest = counter
        return True
    if -ahead > window.size:
        return False
    bit = 1 << -ahead
    if window.seen & bit:
        return False
    window.seen |= bit
    return True


def hearing_is_enough(
    real: Callable[..., None],
) -> Callable[[Membership, Now, NodeId, float | None], None]:
    """Take whatever arrives for two-way evidence."""
    return lambda membership, now, peer, _: real(membership, now, peer, 0.0)


def same_incarnation(own: OwnRecord, now: Now, *_: object) -> None:
    """Answer an accusation with the presence that was accused."""
    if own.left is None and own.presence is not None:
        own._publish(now)


def first_boot_again(_: int, bits: int) -> Boot:
    """Return the number of a first boot."""
    return mint_boot(1, bits)


def late_is_fine(writing: Any, holding: Holding) -> bool:  # noqa: ANN401  the desk's writing part
    """Take any completion, whatever is known already."""
    return not writing.ledger.is_owner(holding)


def without_window(real: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Judge as if the refutation window were long over."""

    def outcome(suspicion: Suspicion, instant: Instant, observers: Any, params: Any) -> Outcome:  # noqa: ANN401  as the real one
        return real(suspicion, instant, observers, replace(params, refutation_window_s=0.0))

    return outcome


def said_by_anybody(reading: _Reading, _: object) -> Iterator[Verified[Any]]:
    """Return every revocation there is."""
    return iter(reading.records.revocations.values())


def moved_at_once(path: Path, _: Instant, source: Address, *__: object) -> None:
    """Take the sender's address on an envelope for true."""
    path.proved, path.doubt = source, None


def moved_by_an_echo(real: Callable[..., None]) -> Callable[..., None]:
    """Take it for proof of a new address that the peer has heard anything since it was asked."""

    def receive(
        path: Path, now: Instant, source: Address, size: int, heard: Instant | None
    ) -> None:
        real(path, now, source, size, heard)
        since = None if path.doubt is None else path.doubt.since
        if source != path.address and heard is not None and since is not None and heard > since:
            path._settle(now, source)

    return receive


def laid_to_another() -> tuple[Callable[..., bool], Callable[..., None]]:
    """Return how to note who is heard, and how to lay a forgery to whoever was heard before."""
    is_muted, strike = Blame.is_muted, Blame.strike
    former: dict[int, dict[NodeId, None]] = {}

    def note(blame: Blame, instant: Instant, peer: NodeId, kind: int) -> bool:
        heard = former.setdefault(id(blame), {})
        heard.pop(peer, None)
        heard[peer] = None
        return is_muted(blame, instant, peer, kind)

    def lay(blame: Blame, instant: Instant, peer: NodeId) -> None:
        others = [other for other in former[id(blame)] if other != peer]
        strike(blame, instant, others[-1] if others else peer)

    return note, lay


def judge_nothing(*_: object) -> Iterator[list[TaskId]]:
    """Look at nothing, and so touch no task."""
    yield []
