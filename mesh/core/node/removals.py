"""What happens everywhere once records of trust take a key back: its links, its facts, its claims.

Whenever the ranks may have changed, everything that is held is judged again by its author. Whoever
takes part no more is cut off at once; of what it has said only what the revocation lists is kept.
There may be hundreds of thousands of facts, so they are judged over many turns; what comes in
meanwhile is judged by the new ranks as it comes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from mesh.core.claims.facts import TaskFact
from mesh.core.claims.rules import CREATOR_BYTES
from mesh.core.claims.table import Table
from mesh.core.claims.task_facts import ground_of
from mesh.core.effects import Row
from mesh.core.evidence import EVERY_BOOT
from mesh.core.gossip.gossip import Family, Gossip
from mesh.core.identity import FactId, NodeId, PublicKey, TaskId, node_id
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.membership.member import Ended
from mesh.core.membership.membership import Membership
from mesh.core.node.bulk import Bulk
from mesh.core.outbox import Outbox
from mesh.core.trust.ranks import Ranks
from mesh.core.trust.records import TRUST_CONTEXTS, Revocation
from mesh.core.trust.standing import cut_and_sort
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Verified

SHEET_ROW = "sheet"
TURN_COST = 8000
"""Facts looked at in one turn: some ten milliseconds, with which no probe is late."""
DROP_COST = 20
"""What dropping a fact counts for beyond looking at it."""
DROPS_AT_ONCE = TURN_COST // DROP_COST
TASKS_AT_ONCE = 500
PAUSE_S = 0.001


@dataclass(slots=True)
class Removals:
    """Applies to the parts of a node what its records of trust take away."""

    own: PublicKey
    trust: Trust
    gossip: Gossip
    membership: Membership
    table: Table
    bulk: Bulk
    outbox: Outbox
    forgotten: Callable[[Sequence[Verified[Any]]], None]
    """Told what was dropped that is no word about one task."""
    since: dict[NodeId, Instant] = field(default_factory=dict)
    """When this node learned that a node takes part no more."""
    version: int = -1
    is_expelled: bool = False
    """Whether this node itself takes part no more."""
    _judged: Ranks | None = None
    """The ranks under which records of tasks were read last."""
    _judging: Iterator[list[TaskId]] | None = None
    _unmembered: list[Verified[Any]] = field(default_factory=list)
    """What was dropped of membership in this turn."""
    _again: bool = False
    """Whether something has changed since the judging began."""
    _due: Instant = NEVER

    def counts(self, family: Family, verified: Verified[Any], *, is_new: bool) -> bool:
        """Whether a fact counts, as far as its author goes: a pure function of the records."""
        author = verified.signed.author
        if isinstance(verified.fact, Revocation):
            # One that a claim cites counts where it really ends somebody's part.
            cited = self.trust.revocations_of(verified.fact.key)
            return family is Family.MEMBERS or any(held.id == verified.id for held in cited)
        if verified.signed.context in TRUST_CONTEXTS:
            return True
        if family is Family.MEMBERS:
            return self.trust.is_member(author)
        return self.trust.counts(author, verified.id, is_new=is_new)

    def has_ground(self, verified: Verified[Any]) -> bool:
        """Whether a word about a task rests on something that is held, or may wait for it.

        The spec of somebody who takes part no more comes only if it is listed. Whatever rests on
        another one would wait for ever, and use up the room of its honest author. So about such
        tasks nothing waits: once its ground is here, a word is offered again. The id of a task
        with a dedupe key does not say whose it is, and a joiner may not have heard of somebody yet.
        """
        ground = ground_of(verified.fact)
        if ground is None or self.gossip.holds(Family.TASKS, ground):
            return True
        creator = NodeId(verified.fact.task[:CREATOR_BYTES])
        return self.trust.is_member_id(creator) or not (
            self.trust.revoked() or self.trust.has_left_id(creator)
        )

    def apply(self, now: Now) -> bool:
        """Cut off whoever takes part no more; whether everything is to be judged again.

        That takes many turns where much is held: see `judge`.
        """
        if self.version == self.trust.version:
            return False
        self.version = self.trust.version
        self.is_expelled = not self.trust.is_member(self.own)
        self._note_revoked(now)
        for view in self.membership.members(now):
            if not view.is_self and not self.trust.is_member_id(view.id):
                self._cut_off(now, view.id, view.name, str(view.status))
        # What was refused under the old ranks may count now.
        self.gossip.forget_refused()
        self._again = True
        return True

    def judge(self, now: Now) -> list[TaskId]:
        """Go on judging what is held, for one turn; return the tasks that it may concern."""
        if self._judging is None and self._again:
            self._again = False
            self._judging = self._judge_all()
        touched = None if self._judging is None else next(self._judging, None)
        if self._unmembered:
            gone, self._unmembered = self._unmembered, []
            self.membership.withdraw(now, gone)
        if touched is None:
            self._judging = None
        self._due = NEVER
        if self._judging is not None or self._again:
            self._due = later(now.instant, PAUSE_S)
        return touched or []

    def judge_to_the_end(self, now: Now) -> None:
        """Judge everything at once: for a node that starts."""
        self.judge(now)
        while self._due != NEVER:
            self.judge(now)

    def next_deadline(self) -> Instant:
        """Return when to go on judging."""
        return self._due

    @property
    def is_judging(self) -> bool:
        """Whether something that is held may still be dropped."""
        return self._due != NEVER

    def take_sheets(self, sheets: Iterable[bytes]) -> bool:
        """Keep those that are wanted, on disk too; whether there were any."""
        taken = self.trust.accept_sheets(sheets)
        self.outbox.keep(*(Row(SHEET_ROW, digest, sheet) for digest, sheet in taken))
        return bool(taken)

    def _judge_all(self) -> Iterator[list[TaskId]]:
        """Yield, turn by turn, the tasks that are touched."""
        if self.trust.wanted_sheets():
            yield from self._write_sheets()
        evidence: dict[FactId, None] = {}
        for family in Family:
            yield from self._judge_family(family, evidence)
        if evidence:
            tasks = list(self.table.tasks())
            for start in range(0, len(tasks), TASKS_AT_ONCE):
                yield self.table.withdraw_evidence(evidence, tasks[start : start + TASKS_AT_ONCE])
        yield from self._drop_groundless(evidence)
        if self._judged is not self.trust.ranks:
            self._judged = self.trust.ranks
            ranked = self.table.with_cancels()
            for start in range(0, len(ranked), TASKS_AT_ONCE):
                yield self.table.recheck(ranked[start : start + TASKS_AT_ONCE])
        # What was dropped under ranks that have changed again meanwhile may count after all.
        self.gossip.forget_refused()

    def _judge_family(self, family: Family, evidence: dict[FactId, None]) -> Iterator[list[TaskId]]:
        gone: list[Verified[Any]] = []
        cost = 0
        for verified in tuple(self.gossip.facts(family)):
            cost += 1
            if not self.counts(family, verified, is_new=False):
                cost += DROP_COST
                self.gossip.drop(family, verified.id)
                gone.append(verified)
            if cost >= TURN_COST:
                yield self._withdraw(family, gone, evidence)
                gone, cost = [], 0
        yield self._withdraw(family, gone, evidence)

    def _drop_groundless(self, evidence: dict[FactId, None]) -> Iterator[list[TaskId]]:
        """Drop what waits for nothing that could come; then what rests on that waits as well."""
        while gone := [word for word in self.table.waiting() if not self.has_ground(word)]:
            for start in range(0, len(gone), DROPS_AT_ONCE):
                some = gone[start : start + DROPS_AT_ONCE]
                for verified in some:
                    self.gossip.drop(Family.TASKS, verified.id)
                yield self._withdraw(Family.TASKS, some, evidence)

    def _withdraw(
        self, family: Family, gone: Sequence[Verified[Any]], evidence: dict[FactId, None]
    ) -> list[TaskId]:
        if family is Family.MEMBERS:
            self._unmembered += gone
            return []
        if not gone:
            return []
        words = [verified for verified in gone if isinstance(verified.fact, TaskFact)]
        others = [verified for verified in gone if not isinstance(verified.fact, TaskFact)]
        evidence.update(dict.fromkeys(verified.id for verified in others))
        self.forgotten(others)
        return self.table.withdraw(words)

    def _write_sheets(self) -> Iterator[list[TaskId]]:
        """Write the sheets that list just what is held here: nobody need be asked for them."""
        ranks = self.trust.ranks
        said: dict[PublicKey, list[FactId]] = {key: [] for key in (*ranks.listed, *ranks.lists)}
        held = chain(self.gossip.facts(Family.TASKS), self.trust.records())
        for place, verified in enumerate(held, 1):
            if verified.signed.author in said:
                said[verified.signed.author].append(verified.id)
            if place % TURN_COST == 0:
                yield []
        for key, ids in said.items():
            cuts = cut_and_sort(ids)
            for standing in (*ranks.listed.get(key, ()), *ranks.lists.get(key, ())):
                if standing is not None and cuts and standing.missing():
                    self.take_sheets(standing.written_from(cuts))
                    yield []

    def _note_revoked(self, now: Now) -> None:
        revoked = [node_id(key) for key in self.trust.revoked()]
        self.since = {node: self.since.get(node, now.instant) for node in revoked}

    def _cut_off(self, now: Now, node: NodeId, name: str, old: str) -> None:
        self.membership.remove(now, node)
        for effect in self.bulk.forget(node):
            self.outbox.put(effect)
        self.outbox.messages.pop(node, None)
        self.outbox.notify(
            "member", {"node": node.hex(), "name": name, "old": old, "new": "removed"}
        )

    def ended(self, node: NodeId) -> Ended | None:
        """Return the revocation of a node as the end of all its boots; the one of least id."""
        key = self.trust.public_key(node)
        revocations = () if key is None else self.trust.revocations_of(key)
        if not revocations:
            return None
        since = self.since.get(node, Instant(0.0))
        return Ended(revocations[0], node, EVERY_BOOT, False, "revoked", since)
