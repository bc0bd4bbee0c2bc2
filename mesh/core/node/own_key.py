"""Whether this node's key lives twice, and what to do: rise above an old boot, or raise the alarm.

Whoever hears of a boot of its own that is greater than the one it runs in has either an old disk
(a backup was put back; nobody runs in the greater boot) or a living copy. It cannot tell which as
long as it has only just begun: so it starts again above that boot, at most twice. One that has been
among the others for a while cannot have been overtaken by its own past: that is a copy.
"""

from dataclasses import dataclass

from mesh.core.effects import Row
from mesh.core.errors import LocalError
from mesh.core.gossip.gossip import Family
from mesh.core.identity import Boot, boot_counter
from mesh.core.instants import Instant, Now, later
from mesh.core.membership.facts import Twin
from mesh.core.node.halts import RISE
from mesh.core.node.participant import Participant
from mesh.core.node.setup import Rows
from mesh.core.wire.envelope import Verified

ROW = "risen"
RISES_MAX = 2
YOUNG_S = 5.0
"""For so long after it has met the first other node, a greater boot may be this node's own past."""
TOLD_AT_ONCE = 16
ONE_OF_THEM = "stop one of the two; where it shall go on as another node: mesh rekey"


@dataclass(slots=True)
class OwnKey:
    """Watches over this node's key."""

    participant: Participant
    risen: int = 0
    """How often this node has started again for a greater boot, in a row."""
    alarm: Verified[Twin] | None = None
    is_rising: bool = False

    def restore(self, rows: Rows) -> None:
        """Take back how often in a row it has started again."""
        self.risen = sum(rows.get(ROW, {}).get(b"", b""))

    def _is_young(self, instant: Instant) -> bool:
        met = self.participant.met
        return met is None or instant < later(met, YOUNG_S)

    def tend(self, now: Now) -> None:
        """Act upon what has come in."""
        membership = self.participant.membership
        told, rival = membership.own_twin, membership.rival_boot
        if self.is_rising or told is self.alarm is None is rival:
            return
        if told is not None and told is not self.alarm:
            self._raise_alarm(now, told)
        elif rival is not None and self.alarm is None:
            self._meet_rival(now, rival)

    def _meet_rival(self, now: Now, rival: Boot) -> None:
        participant = self.participant
        if self._is_young(now.instant) and self.risen < RISES_MAX:
            self.is_rising = True
            participant.outbox.commit(Row(ROW, b"", bytes((self.risen + 1,))))
            participant.outbox.put(RISE)
            return
        [twin] = participant.author.sign([Twin(participant.boot, rival)])
        if participant.membership.accept(now, twin):
            participant.gossip.publish(now, Family.MEMBERS, [twin])
            self._raise_alarm(now, twin)

    def _raise_alarm(self, now: Now, twin: Verified[Twin]) -> None:
        participant, is_new = self.participant, self.alarm is None
        self.alarm = twin
        participant.desk.stop_claiming(now, lives_twice())
        participant.alarm = self.text()
        participant.outbox.notify("alarm", {"kind": "key_lives_twice", "text": self.text()})
        if is_new:
            links = participant.transport.links
            for peer in participant.membership.alive()[:TOLD_AT_ONCE]:
                address = links.address(peer)
                if address is not None:
                    participant.outbox.put(participant.transport.hello(address))

    def forget_rises(self, now: Now) -> None:
        """All is well for long enough: the next rise is the first one again."""
        if self.risen and not self.is_rising and not self._is_young(now.instant):
            self.risen = 0
            self.participant.outbox.commit(Row(ROW, b"", None))

    def text(self) -> str:
        """Return what people have to know; empty while all is well."""
        if self.alarm is None:
            return ""
        fact, own = self.alarm.fact, self.participant.boot
        other = fact.rival if fact.boot == own else fact.boot
        presence = self.participant.membership.rival_presence
        where = "" if presence is None else f" at {presence.fact.addresses[0]}"
        return (
            f"THE KEY OF THIS NODE LIVES TWICE: it also runs in boot {boot_counter(other)}{where}; "
            f"neither takes work any more; {ONE_OF_THEM}"
        )


def lives_twice() -> LocalError:
    """Return why a node takes no work whose key lives twice."""
    return LocalError(
        "key_lives_twice",
        "the key of this node also runs somewhere else, so neither of the two takes work",
        ONE_OF_THEM,
    )
