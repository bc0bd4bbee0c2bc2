"""Verdicts that came before the presence they name: kept aside, bounded, until it comes."""

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, NodeId
from mesh.core.membership.facts import Verdict
from mesh.core.membership.member import Standing
from mesh.core.wire.envelope import Verified


class Shelf:
    """One verdict for each subject, boot and incarnation.

    A full shelf refuses with OVER_CAP, which gossip does not hold against a fact: it is offered
    again once there is room.
    """

    def __init__(self, verdicts_max: int) -> None:
        self._by_subject: dict[NodeId, dict[Standing, Verified[Verdict]]] = {}
        self._count = 0
        self._verdicts_max = verdicts_max

    def __len__(self) -> int:
        return self._count

    def get(self, subject: NodeId, named: Standing) -> Verified[Verdict] | None:
        """Return the verdict that waits for this presence."""
        return self._by_subject.get(subject, {}).get(named)

    def put(self, verdict: Verified[Verdict]) -> None:
        """Keep a verdict, in place of another one; raises RemoteError(OVER_CAP) when full."""
        fact = verdict.fact
        named = (fact.boot, fact.incarnation)
        if self.get(fact.subject, named) is None:
            if self._count >= self._verdicts_max:
                raise RemoteError(Refusal.OVER_CAP, "too many verdicts wait for a presence")
            self._count += 1
        self._by_subject.setdefault(fact.subject, {})[named] = verdict

    def take_until(self, subject: NodeId, standing: Standing) -> list[Verified[Verdict]]:
        """Remove and return what names this presence or an older one."""
        waiting = self._by_subject.get(subject, {})
        return self._take(subject, [named for named in waiting if named <= standing])

    def take_boots(self, subject: NodeId, boot: Boot) -> list[Verified[Verdict]]:
        """Remove and return what names this boot or an older one."""
        waiting = self._by_subject.get(subject, {})
        return self._take(subject, [named for named in waiting if named[0] <= boot])

    def _take(self, subject: NodeId, names: list[Standing]) -> list[Verified[Verdict]]:
        if not names:
            return []
        waiting = self._by_subject[subject]
        self._count -= len(names)
        taken = [waiting.pop(named) for named in names]
        if not waiting:
            del self._by_subject[subject]
        return taken
