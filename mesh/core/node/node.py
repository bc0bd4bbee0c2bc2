"""One node: an input in, effects out, one deadline; it starts as a stranger and becomes a member.

A driver calls `start` once, then `handle` for every input and `handle_timeout` whenever the clock
reaches `next_deadline()`, and performs the returned effects in order. Nothing else touches a node.
"""

from collections.abc import Sequence
from itertools import count
from typing import assert_never

from mesh.core.blob_commands import BlobCommand
from mesh.core.blobs.reading import Asker
from mesh.core.commands import (
    Hello,
    MemberList,
    MemberWait,
    NodeIdentity,
    NodeInfo,
    NodeLeave,
    NodeStatus,
    TaskCertificate,
)
from mesh.core.effects import (
    CloseStream,
    CommitNumber,
    Effect,
    Halt,
    Row,
)
from mesh.core.errors import LocalError, RemoteError
from mesh.core.identity import Boot, boot_counter, mint_boot, node_id
from mesh.core.inputs import (
    BlobInput,
    ClientGone,
    CommandReceived,
    CommitDone,
    CommitFailed,
    DatagramReceived,
    Input,
    LocalInput,
    LoopLag,
    NetworkInput,
    SeedsResolved,
    StreamClosed,
    StreamInput,
    StreamOpened,
    StreamReceived,
    SuspendGap,
)
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.node.admissions import Admissions
from mesh.core.node.assembly import assemble, decode_genesis_untrusted, restore
from mesh.core.node.authority import Authority
from mesh.core.node.commits import Commits
from mesh.core.node.contact import Contact
from mesh.core.node.doorway import Doorway
from mesh.core.node.entry import Entry, Granted, found_mesh
from mesh.core.node.halts import LEFT, REMOVED, START_AFRESH
from mesh.core.node.own_key import OwnKey
from mesh.core.node.participant import Participant
from mesh.core.node.queries import Queries
from mesh.core.node.setup import BOOT_ROW_BYTES, NodeSetup, last_start
from mesh.core.node.views import Viewer
from mesh.core.outbox import Outbox
from mesh.core.snapshot import Snapshot
from mesh.core.trust_commands import TrustCommand
from mesh.core.wire.envelope import decode_signed_fact_untrusted


class Node:
    """Rules without a clock, a socket or a disk; see the module for how it is driven."""

    def __init__(self, setup: NodeSetup) -> None:
        self.setup = setup
        self.rows = setup.rows or {}
        last = last_start(self.rows)
        random_bits = int.from_bytes(setup.rng.randbytes(4), "big")
        self.boot = mint_boot(0 if last is None else last + 1, random_bits)
        self.outbox = Outbox()
        self.participant: Participant | None = None
        self._stream_ids = count(1, 2)
        self._born: CommitNumber | None = None
        self._granted: Granted | None = None
        self._entry: Entry | None = None
        self._lagged_until = Instant(0.0)
        """A loop that is late stays so for many turns; claims are suspended once for them all."""
        self._halt_at = NEVER
        self._halt = LEFT
        self._commits = Commits()
        self._viewer: Viewer | None = None

    # ---- the contract of a node

    def start(self, now: Now) -> list[Effect]:
        """Begin: nothing leaves before the number of this boot is on disk."""
        if boot_counter(self.boot) == 0:
            # With a number that was used before, this node would contradict what it has signed.
            return [Halt("the number of this node's last start is damaged on disk", START_AFRESH)]
        number = self.outbox.commit(self._boot_row())
        if "mesh" in self.rows:
            self._born = number
        elif self.setup.founding is not None:
            self._granted = found_mesh(self.setup, now)
            self.outbox.commit(*self._granted.rows)
            self._born = number
        else:
            self._entry = Entry(self.setup, self._stream_ids)
            self._extend(self._entry.start(now))
        self._settle(now)
        return self._finish(now)

    def handle(self, now: Now, event: Input) -> list[Effect]:
        """Take one input."""
        return self.handle_all(now, (event,))

    def handle_all(self, now: Now, events: Sequence[Input]) -> list[Effect]:
        """Take inputs that came together: they share one commit, and datagrams."""
        if self.participant is not None:
            self.participant.backlog.begin_turn()
        for event in events:
            if type(event) is DatagramReceived:
                self._receive_datagram(now, event)  # most inputs: spared the sorting below
            else:
                self._handle(now, event)
            self._settle(now)
        return self._finish(now)

    def _handle(self, now: Now, event: Input) -> None:
        match event:
            case _ if isinstance(event, NetworkInput):
                self._handle_network(now, event)
            case _ if isinstance(event, BlobInput):
                if self.participant is not None:
                    self.participant.blobs.handle_disk(now, event)
            case _ if isinstance(event, LocalInput):
                self._handle_local(now, event)
            case _:
                assert_never(event)

    def handle_timeout(self, now: Now) -> list[Effect]:
        """Let time pass; early and late calls are harmless."""
        if now.instant >= self._halt_at:
            self._halt_at = NEVER
            self.outbox.put(self._halt)
        self._commits.handle_timeout(now.instant, self.outbox)
        if self._entry is not None:
            self._extend(self._entry.handle_timeout(now))
        if self.participant is not None:
            self.participant.backlog.begin_turn()
            self.doorway.close_silent(now.instant)
            self._extend(self.participant.handle_timeout(now))
            self._extend(self.contact.handle_timeout(now))
            self.own_key.forget_rises(now)
            self._extend(self.admissions.handle_timeout(now))
        self._settle(now)
        return self._finish(now)

    def next_deadline(self) -> Instant:
        """Return when `handle_timeout` wants to be called; later than the last call of it."""
        if self.participant is None:
            asking = NEVER if self._entry is None else self._entry.next_deadline()
            return min(self._halt_at, self._commits.next_deadline(), asking)
        return min(
            self.participant.next_deadline(),
            self.contact.due,
            self.queries.next_deadline(),
            self.admissions.next_deadline(),
            self.doorway.next_deadline(),
            self._halt_at,
            self._commits.next_deadline(),
        )

    def snapshot(self, now: Now) -> Snapshot:
        """Return this node as plain data; empty while it is no member."""
        if self.participant is not None and not self.participant.removals.is_expelled:
            if self._viewer is None:
                self._viewer = Viewer(self.participant)
            return self._viewer.snapshot(now)
        own = node_id(self.setup.suite.public_key(self.setup.key))
        return Snapshot(own, self.boot, (), (), (), (), isolated=False, table_sizes=())

    # ---- network

    def _extend(self, effects: list[Effect]) -> None:
        self.outbox.effects += effects

    def _receive_datagram(self, now: Now, event: DatagramReceived) -> None:
        if self.participant is not None:
            data, source = event.data, event.source
            self.outbox.effects += self.participant.receive_datagram(now, data, source)

    def _handle_network(self, now: Now, event: NetworkInput) -> None:
        match event:
            case DatagramReceived():
                self._receive_datagram(now, event)
            case SeedsResolved(addresses):
                if self._entry is not None:
                    self._extend(self._entry.handle_resolved(now, addresses))
                elif self.participant is not None:
                    self._extend(self.contact.handle_resolved(addresses))
            case StreamOpened() | StreamReceived() | StreamClosed():
                self._handle_stream(now, event)
            case _:
                assert_never(event)

    def _handle_stream(self, now: Now, event: StreamInput) -> None:
        entry = self._entry
        if entry is not None and entry.owns(event.stream):
            self._handle_entry_stream(now, entry, event)
        elif self.participant is not None:
            self.doorway.handle(now, event)
        elif isinstance(event, StreamOpened):
            self.outbox.put(CloseStream(event.stream))

    def _handle_entry_stream(self, now: Now, entry: Entry, event: StreamInput) -> None:
        match event:
            case StreamOpened(stream):
                self._extend(entry.handle_opened(now, stream))
            case StreamReceived(stream, data):
                try:
                    self._extend(entry.receive_untrusted(now, stream, data))
                    self._take_grant(entry.granted)
                except RemoteError:
                    self.outbox.put(CloseStream(stream))
            case StreamClosed(stream, reason):
                self._extend(entry.handle_closed(now, stream, reason))
            case _:
                assert_never(event)

    def _take_grant(self, granted: Granted | None) -> None:
        if granted is not None and self._granted is None:
            self._granted = granted
            self._rise_above(granted.former)
            self._born = self.outbox.commit(*granted.rows, self._boot_row())

    def _rise_above(self, former: Boot) -> bool:
        """Take a boot above one that was signed already; returns whether that was needed."""
        if former < self.boot:
            return False
        self.boot = mint_boot(boot_counter(former) + 1, self.boot)
        return True

    def _boot_row(self) -> Row:
        return Row("boot", b"", boot_counter(self.boot).to_bytes(BOOT_ROW_BYTES, "big"))

    # ---- becoming a member

    def _try_to_become_member(self, now: Now) -> None:
        try:
            self._become_member(now)
        except RemoteError as wrong:
            self.outbox.put(Halt(f"the mesh as the disk has it is damaged: {wrong}", START_AFRESH))
        except LocalError as wrong:
            self.outbox.put(Halt(wrong.message, wrong.hint))

    def _become_member(self, now: Now) -> None:
        rows = self.rows
        if self._granted is not None:
            rows = {
                kind: {row.key: row.value or b"" for row in self._granted.rows if row.kind == kind}
                for kind in dict.fromkeys(row.kind for row in self._granted.rows)
            }
        from_disk = decode_genesis_untrusted(rows["mesh"].get(b"", b""))
        extra = () if self._entry is None else self._entry.addresses
        self._entry = None
        participant = assemble(self.setup, self.boot, from_disk, self.outbox, self._stream_ids)
        participant.blobs.shelf.restore(now.instant, self.setup.blobs)
        restore(participant, rows, now)
        if participant.removals.is_expelled:
            self.outbox.put(REMOVED)
            return
        if not participant.trust.chain(participant.author.public_key):
            self._join_again(now)
            return
        if self._rise_above(participant.membership.former_boot):
            # The rows that count the starts were damaged, what was signed then is not.
            self._born = self.outbox.commit(self._boot_row())
            return
        self.participant = participant
        self.queries = Queries(self.setup, participant, now.instant)
        self.own_key = OwnKey(participant)
        self.own_key.restore(self.rows)
        self.admissions = Admissions(self.setup, participant, rows)
        self.doorway = Doorway(participant, self.admissions)
        self.authority = Authority(participant, self.admissions)
        self.contact = Contact(
            participant, self.setup.rng, self.setup.seeds, self.setup.addresses, extra
        )
        participant.membership.start(now)
        participant.desk.start(now)
        self._meet(now, participant)
        self._extend(self.contact.start(now))
        self.outbox.notify("node", {"state": "member", "mesh": participant.verifier.mesh.hex()})

    def _join_again(self, now: Now) -> None:
        """The disk no longer proves that this node is a member; raises LocalError if nobody can."""
        if self._granted is not None or (self.setup.ticket is None and not self.setup.seeds):
            lost = "what proves that this node is a member is damaged on disk"
            raise LocalError("certificate_damaged", lost, START_AFRESH)
        self._entry = Entry(self.setup, self._stream_ids)
        self._extend(self._entry.start(now))

    def _meet(self, now: Now, participant: Participant) -> None:
        """Take over the presences that came with a grant."""
        for contact in () if self._granted is None else self._granted.contacts:
            try:
                signed = decode_signed_fact_untrusted(contact, participant.verifier.mesh)
                participant.take_facts(now, [signed])
            except RemoteError as error:
                participant.refuse(error)

    # ---- local

    def _handle_local(self, now: Now, event: LocalInput) -> None:
        match event:
            case CommitDone(number):
                self._handle_committed(now, number)
            case CommitFailed(number, reason):
                self._handle_commit_failed(now, number, reason)
            case CommandReceived():
                self._handle_command(now, event)
            case ClientGone(client):
                if self.participant is not None:
                    self.queries.forget_client(client)
                    self.participant.blobs.handle_client_gone(client)
                    self.participant.desk.handle_client_gone(now, client)
            case SuspendGap(gap_s):
                if self.participant is not None:
                    self.participant.membership.handle_suspend(now, gap_s)
                    self.participant.desk.handle_suspend(now)
            case LoopLag(lag_s):
                self._handle_lag(now, lag_s)
            case _:
                assert_never(event)

    def _handle_lag(self, now: Now, lag_s: float) -> None:
        if self.participant is None:
            return
        self.participant.membership.handle_lag(now, lag_s)
        is_new = later(now.instant, -lag_s) >= self._lagged_until
        if is_new and lag_s >= self.setup.params.membership.suspend_gap_s:
            # The claims of a process that was stopped may be gone like those of a host that slept.
            self._lagged_until = now.instant
            self.participant.desk.handle_suspend(now)

    def _handle_committed(self, now: Now, number: CommitNumber) -> None:
        done = self._commits.handle_done(number)
        if done is None:
            return
        if self._born is not None and done >= self._born:
            self._born = None
            self._try_to_become_member(now)
        elif self.participant is not None:
            self.queries.disk_trouble = ""
            self.participant.gossip.handle_committed(now, done)
            self.participant.desk.handle_committed(now, done)
            self._extend(self.admissions.handle_committed(done))

    def _handle_commit_failed(self, now: Now, number: CommitNumber, reason: str) -> None:
        if self.participant is None:
            self.outbox.put(Halt(f"the state could not be written: {reason}", "free disk space"))
            return
        if not self._commits.failing:
            self.queries.disk_trouble = reason
            text = self.queries.disk_warning()
            self.outbox.notify("alarm", {"kind": "disk_failing", "text": text})
        self._commits.handle_failed(now.instant, number)
        self.participant.transport.count("commits_failed")
        self.participant.desk.handle_commit_failed(now, number, reason)
        self._extend(self.admissions.handle_commit_failed(number))

    def _handle_command(self, now: Now, received: CommandReceived) -> None:
        client, request = received.client, received.request
        try:
            if self.participant is None:
                self._answer_stranger(now, received)
            else:
                self._answer(now, self.participant, received)
        except LocalError as error:
            self.outbox.refuse(client, request, error)

    def _answer_stranger(self, now: Now, received: CommandReceived) -> None:
        command = received.command
        if isinstance(command, Hello):
            self.outbox.reply(received.client, received.request, {"version": self.setup.version})
        elif isinstance(command, NodeLeave):
            self.outbox.reply(received.client, received.request, {"left": False})
            self._halt_at = now.instant
        elif isinstance(command, NodeStatus) and self._entry is not None:
            self.outbox.reply(received.client, received.request, self._entry.status())
        else:
            raise LocalError(
                "not_joined",
                "this node has not joined a mesh yet",
                "see `mesh status`; the ticket's node must be reachable",
            )

    def _answer(self, now: Now, participant: Participant, received: CommandReceived) -> None:
        client, request, command = received.client, received.request, received.command
        match command:
            case Hello() | NodeStatus() | NodeInfo() | NodeIdentity() | MemberList():
                self.outbox.reply(client, request, self.queries.answer(now, command))
            case TaskCertificate():
                self.outbox.reply(client, request, self.queries.answer(now, command))
            case MemberWait():
                self.queries.wait(now, client, request, command)
            case NodeLeave():
                self._leave(now, participant, received)
            case _ if isinstance(command, BlobCommand):
                participant.blobs.handle_command(now, Asker(client, request), command)
            case _ if isinstance(command, TrustCommand):
                self.authority.handle(now, client, request, command)
            case _:
                if self._halt_at != NEVER:
                    raise LocalError("leaving", "this node is leaving", "use another node")
                participant.desk.handle_command(now, received)

    def _leave(self, now: Now, participant: Participant, received: CommandReceived) -> None:
        if self._halt_at == NEVER:
            participant.membership.leave(now)
            self._halt_at = later(now.instant, participant.params.membership.leave_linger_s)
        self.outbox.reply(received.client, received.request, {"left": True})

    # ---- the end of every input

    def _settle(self, now: Now) -> None:
        if self.participant is not None:
            self.participant.settle(now)
            self.queries.settle(now)
            self.own_key.tend(now)
            if self.participant.removals.is_expelled:
                self._end(now, REMOVED, "removed")

    def _end(self, now: Now, halt: Halt, state: str) -> None:
        """Stop once what says so is on disk."""
        if self._halt is LEFT:
            self._halt = halt
            self._halt_at = later(now.instant, self.setup.params.membership.leave_linger_s)
            self.outbox.notify("node", {"state": state})

    def _finish(self, now: Now) -> list[Effect]:
        participant, outbox = self.participant, self.outbox
        commit = self._take_commit(now) if outbox.rows or outbox.promised else []
        effects = outbox.effects
        outbox.effects = []
        if participant is not None:
            if outbox.messages:
                effects += participant.transport.send(now, outbox.messages)
            if outbox.bulk:
                effects += participant.bulk.send(now.instant, outbox.bulk)
        return commit + effects

    def _take_commit(self, now: Now) -> list[Effect]:
        if not self._commits.is_due(now.instant, self.outbox):
            return []
        if self.participant is not None:
            self.participant.gossip.sign_drafts()
        return self._commits.take(self.outbox)
