"""Answers about the node itself: status, info, members, waits for members."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mesh.core.commands import (
    Hello,
    MemberCommand,
    MemberList,
    MemberWait,
    NodeCommand,
    NodeIdentity,
    NodeInfo,
    NodeStatus,
    TaskCertificate,
)
from mesh.core.crypto.keys import fingerprint
from mesh.core.effects import ClientId, Json
from mesh.core.errors import LocalError
from mesh.core.fence_proof import certificate_of
from mesh.core.gossip.gossip import Family
from mesh.core.identity import FactId, boot_counter
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.node.participant import Participant
from mesh.core.node.setup import NodeSetup
from mesh.core.snapshot import MemberView, Status, TaskState
from mesh.core.wire.envelope import Verified

API_VERSION = 1
WAITS_MAX = 256
ADMINS_WANTED = 2


@dataclass(frozen=True, slots=True)
class MemberWaiter:
    """A client that waits until so many members are alive."""

    client: ClientId
    request: int
    members: int
    deadline: Instant


def member_json(view: MemberView) -> dict[str, Json]:
    """Return one member in the shape that `mesh members --json` promises."""
    return {
        "id": view.id.hex(),
        "name": view.name,
        "address": str(view.address),
        "status": str(view.status),
        "incarnation": view.incarnation,
        "boot": boot_counter(view.boot),
        "rtt_ms": None if view.rtt_s is None else round(view.rtt_s * 1000, 3),
        "tags": dict(view.tags),
        "is_self": view.is_self,
        "flags": list(view.flags),
    }


@dataclass(slots=True)
class Queries:
    """Reads of one participant, and the clients that wait for members."""

    setup: NodeSetup
    participant: Participant
    started: Instant
    waiting: list[MemberWaiter] = field(default_factory=list)
    disk_trouble: str = ""
    """Why the disk takes nothing, while it does not."""

    def answer(self, now: Now, command: NodeCommand | MemberCommand) -> Json:
        """Return the answer to a read that needs no waiting; raises LocalError."""
        match command:
            case Hello():
                return {"version": self.setup.version, "api": API_VERSION}
            case NodeStatus():
                return self.status(now)
            case NodeInfo(node):
                return self._info(now, node)
            case NodeIdentity():
                return self._identity()
            case TaskCertificate(task):
                record = self.participant.desk.record(task)
                proof = certificate_of(self.participant.trust, record, self._held)
                return {"task": task, "certificate": proof}
            case MemberList(status, tags):
                return {"members": list(self._members(now, status, tags))}
            case _:
                raise AssertionError(f"{command} is not a read")

    def _held(self, id_: FactId) -> Verified[Any] | None:
        gossip = self.participant.gossip
        return gossip.get(Family.TASKS, id_) or gossip.get(Family.MEMBERS, id_)

    def _members(self, now: Now, status: str | None, tags: dict[str, str]) -> Iterator[Json]:
        try:
            wanted = re.compile(status or "")
            tag_patterns = [(key, re.compile(pattern)) for key, pattern in tags.items()]
        except (re.error, OverflowError, RecursionError) as wrong:
            raise LocalError(
                "bad_pattern", f"not a regular expression: {wrong}", "quote special characters"
            ) from None
        for view in self.participant.membership.members(now):
            own = dict(view.tags)
            if wanted.fullmatch(view.status) is None and status:
                continue
            if all(pattern.fullmatch(own.get(key, "")) for key, pattern in tag_patterns):
                yield member_json(view)

    def status(self, now: Now) -> dict[str, Json]:
        """Return who this node is, its mesh, its tasks and its counters."""
        participant = self.participant
        views = participant.membership.members(now)
        own = next(view for view in views if view.is_self)
        counts = dict.fromkeys((str(status) for status in Status), 0)
        for view in views:
            counts[str(view.status)] += 1
        members: dict[str, Json] = dict(counts.items())
        genesis = participant.trust.genesis.fact
        return {
            "node": {
                "id": own.id.hex(),
                "name": own.name,
                "address": str(own.address),
                "boot": boot_counter(own.boot),
                "incarnation": own.incarnation,
                "uptime_s": round(now.instant - self.started, 3),
                "state": "left" if own.status is Status.LEFT else "member",
                "isolated": participant.membership.isolated,
                "admin": participant.trust.is_admin(participant.author.public_key),
            },
            "mesh": {
                "id": participant.verifier.mesh.hex(),
                "name": genesis.name,
                "profile": genesis.profile,
                "open": genesis.open,
                "admins": len(participant.trust.admins()),
                "members": members,
            },
            "warnings": self._warnings(now),
            "tasks": self._task_counts(),
            "counters": dict(sorted(self.counters().items())),
        }

    def disk_warning(self) -> str:
        """Return what people have to know of a disk that takes nothing."""
        return (
            f"this node cannot write to its disk: {self.disk_trouble}; "
            "it refuses work until it can, and stays a member"
        )

    def _warnings(self, now: Now) -> list[Json]:
        participant = self.participant
        warnings: list[Json] = [participant.alarm] if participant.alarm else []
        if self.disk_trouble:
            warnings.append(self.disk_warning())
        warnings += [
            f"THE KEY OF {view.name} LIVES TWICE: neither of the two takes work"
            for view in participant.membership.members(now)
            if "cloned" in view.flags and not view.is_self
        ]
        if len(participant.trust.admins()) < ADMINS_WANTED and participant.known_alive:
            warnings.append("fewer than two admins: if the one is lost, nobody can join any more")
        if participant.membership.isolated:
            warnings.append("isolated: more than half of the links of this node look dead")
        if participant.trust.genesis.fact.open:
            warnings.append("this mesh is OPEN: everybody who reaches it takes part")
        wanted = len(participant.trust.wanted_sheets())
        if wanted:
            warnings.append(
                f"{wanted} sheets of what goes on counting of a removed node are not here yet: "
                "whoever has them is asked, and until then nothing of it is dropped"
            )
        return warnings

    def _task_counts(self) -> dict[str, Json]:
        counts = dict.fromkeys((str(state) for state in TaskState), 0)
        for task in self.participant.table.tasks():
            record = self.participant.table.record(task)
            if record is not None and record.spec is not None:
                counts[str(record.state)] += 1
        return dict(counts.items())

    def counters(self) -> dict[str, int]:
        """Return every counter of every part."""
        participant = self.participant
        counters = participant.counters | participant.transport.counters
        for part in (participant.gossip, participant.blobs, participant.desk, participant.sheets):
            counters |= part.counters()
        counters |= self.setup.driver_counters()
        return counters | {"verifications": participant.verifier.verifications}

    def _identity(self) -> dict[str, Json]:
        author = self.participant.author
        genesis = self.participant.trust.genesis.fact
        return {
            "id": author.id.hex(),
            "name": self.setup.name,
            "public_key": author.public_key.hex(),
            "fingerprint": fingerprint(author.public_key),
            "mesh": {
                "id": self.participant.verifier.mesh.hex(),
                "name": genesis.name,
                "root": fingerprint(genesis.root_key),
            },
        }

    def _info(self, now: Now, node: str | None) -> dict[str, Json]:
        views = self.participant.membership.members(now)
        found = [
            view
            for view in views
            if (node is None and view.is_self)
            or (node and (view.name == node or view.id.hex().startswith(node)))
        ]
        if not found:
            raise LocalError("not_found", f"no node {node}", "see `mesh members`")
        if len(found) > 1:
            raise LocalError("ambiguous", f"{len(found)} nodes match {node}", "give more of the id")
        view = found[0]
        presence = self.participant.membership.presence(view.id)
        info = member_json(view)
        info["admin"] = self.participant.trust.is_admin_id(view.id)
        if presence is not None:
            key = presence.signed.author
            info["public_key"] = key.hex()
            info["fingerprint"] = fingerprint(key)
            info["kinds"] = list(presence.fact.kinds)
        return {"node": info}

    # ---- waiting for members

    def wait(self, now: Now, client: ClientId, request: int, command: MemberWait) -> None:
        """Answer now or later; raises LocalError when too many wait."""
        if len(self.waiting) >= WAITS_MAX:
            raise LocalError("too_many_waits", f"{WAITS_MAX} clients wait already", "try again")
        deadline = later(now.instant, command.wait_s)
        self.waiting.append(MemberWaiter(client, request, command.members, deadline))
        self.settle(now)

    def settle(self, now: Now) -> None:
        """Answer every wait that is fulfilled or over."""
        if not self.waiting:
            return
        alive = 1 + len(self.participant.known_alive)
        keep = []
        for waiter in self.waiting:
            if alive >= waiter.members:
                answer: dict[str, Json] = {"alive": alive}
                self.participant.outbox.reply(waiter.client, waiter.request, answer)
            elif now.instant >= waiter.deadline:
                late = LocalError(
                    "timed_out",
                    f"{alive} of {waiter.members} members are alive",
                    "see `mesh members`",
                )
                self.participant.outbox.refuse(waiter.client, waiter.request, late)
            else:
                keep.append(waiter)
        self.waiting = keep

    def forget_client(self, client: ClientId) -> None:
        """A client is gone: nobody waits for its answers."""
        self.waiting = [waiter for waiter in self.waiting if waiter.client != client]

    def next_deadline(self) -> Instant:
        """Return when the next wait is over."""
        if not self.waiting:
            return NEVER
        return min(waiter.deadline for waiter in self.waiting)
