"""All members this node knows of, bounded, and who of them is here."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import NodeId
from mesh.core.instants import Instant
from mesh.core.membership.member import Member, Standing
from mesh.core.membership.observers import ObserverRule
from mesh.core.snapshot import Status


@dataclass(frozen=True, slots=True)
class MemberEvent:
    """What changed about one member between two cuts."""

    peer: NodeId
    name: str
    old: Status | None
    new: Status


class MemberTable:
    """Beliefs by id; keeps the observer rule and the list of those here in step with them."""

    def __init__(self, self_id: NodeId, members_max: int, rule: ObserverRule) -> None:
        self.self_id = self_id
        self.rule = rule
        self.here: list[NodeId] = []
        """Alive and suspect members without this node, sorted."""
        self.down: dict[NodeId, None] = {}
        """Down and dead members, for redialling."""
        self.is_stale = True
        """Whether who is here has changed since the last look."""
        self._alive: tuple[NodeId, ...] | None = ()
        self._members: dict[NodeId, Member] = {}
        self._members_max = members_max
        self._changed: dict[NodeId, Status | None] = {}
        self._forgotten: dict[NodeId, Standing] = {}
        rule.add(self_id)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def alive(self) -> tuple[NodeId, ...]:
        """Return who is here; the same object until somebody comes or goes."""
        if self._alive is None:
            self._alive = tuple(self.here)
        return self._alive

    def get(self, node: NodeId) -> Member | None:
        """Return what is believed of a node; None for unknown ones and for this node."""
        return self._members.get(node)

    def add(self, member: Member) -> None:
        """Take in a new member; raises RemoteError(OVER_CAP) when the table is full."""
        if len(self._members) + 1 >= self._members_max:
            raise RemoteError(Refusal.OVER_CAP, f"{self._members_max} members are known")
        self._members[member.id] = member
        self._forgotten.pop(member.id, None)
        self._changed.setdefault(member.id, None)
        self._enter(member.id)

    def set_status(self, member: Member, status: Status, instant: Instant) -> None:
        """Believe something else of a member."""
        if member.status is status:
            return
        was_here = member.is_here
        self._changed.setdefault(member.id, member.status)
        member.status = status
        if member.is_down:
            self.down[member.id] = None
        else:
            self.down.pop(member.id, None)
        if was_here and not member.is_here:
            member.since = instant
            self._exit(member.id)
        elif member.is_here and not was_here:
            self._enter(member.id)

    def remove(self, member: Member) -> None:
        """Forget a member, but not under which boot and incarnation it was known."""
        del self._members[member.id]
        self.down.pop(member.id, None)
        self._changed.pop(member.id, None)
        self._exit(member.id)
        self._forgotten[member.id] = member.standing
        if len(self._forgotten) > self._members_max:
            del self._forgotten[next(iter(self._forgotten))]

    def is_forgotten(self, node: NodeId, standing: Standing) -> bool:
        """Whether this was known once and is over: nobody may bring it back."""
        return standing <= self._forgotten.get(node, (-1, -1))

    def is_alive(self, node: NodeId) -> bool:
        """Whether a member is here and nobody doubts that."""
        member = self._members.get(node)
        return member is not None and member.status is Status.ALIVE

    def observers(self, member: Member) -> frozenset[NodeId]:
        """Return who may vote on a member, this node perhaps included."""
        return self.rule.observes(member.id)

    def others(self, member: Member) -> list[NodeId]:
        """Return the other observers of a member, sorted."""
        return [node for node in self.rule.observers(member.id) if node != self.self_id]

    @property
    def has_changes(self) -> bool:
        """Whether a cut would say anything."""
        return bool(self._changed)

    def cut(self) -> list[MemberEvent]:
        """Return what changed since the last cut: one event for each member that differs."""
        events = []
        for node, old in self._changed.items():
            member = self._members[node]
            if member.status is not old:
                events.append(MemberEvent(node, member.presence.fact.name, old, member.status))
        self._changed.clear()
        return events

    def _enter(self, node: NodeId) -> None:
        bisect.insort(self.here, node)
        self._alive = None
        self.rule.add(node)
        self.is_stale = True

    def _exit(self, node: NodeId) -> None:
        at = bisect.bisect_left(self.here, node)
        if self.here[at : at + 1] == [node]:
            del self.here[at]
            self._alive = None
        self.rule.remove(node)
        self.is_stale = True
