"""What people with authority over the mesh ask of this node: to invite, to remove, to rank.

Everything here ends in signed records. Who may sign what is decided by `trust`, everywhere alike;
here it is only made sure that a person is told at once when a record would count for nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mesh.core.claims.exchange_facts import ExchangeFact
from mesh.core.claims.facts import Claim
from mesh.core.crypto.keys import fingerprint, root_key_hash
from mesh.core.crypto.spelling import spell_key
from mesh.core.effects import ClientId, Json, Row
from mesh.core.errors import LocalError, RemoteError
from mesh.core.gossip.gossip import Family
from mesh.core.identity import FactId, PublicKey, node_id
from mesh.core.instants import Now, later
from mesh.core.node.admissions import Admissions
from mesh.core.node.participant import Participant
from mesh.core.trust.applicants import ID_DIGITS_MIN
from mesh.core.trust.ranks import ADMINS_MAX
from mesh.core.trust.records import NOTE_BYTES_MAX, Admin, Revocation, Rotation, Scope
from mesh.core.trust.standing import FACTS_PER_LIST_MAX, write_list
from mesh.core.trust_commands import (
    AdmissionCommand,
    RankCommand,
    RootCommand,
    RootExport,
    RootKeep,
    RootLock,
    TrustAdmins,
    TrustAdmit,
    TrustCommand,
    TrustDemote,
    TrustDeny,
    TrustInvite,
    TrustInvites,
    TrustPending,
    TrustPromote,
    TrustRemove,
    TrustRotate,
    TrustUninvite,
)
from mesh.core.wire.codec import Text, normalise_text
from mesh.core.wire.envelope import Author, Verified

NOTE = Text(NOTE_BYTES_MAX)
DISCARD = "where what it has said shall count no more either, add --discard"


def not_found(node: str) -> LocalError:
    """Return the error for a node that nobody knows of."""
    return LocalError("not_found", f"no node {node}", "see `mesh members`")


def _grounds(verified: Verified[Any]) -> list[FactId]:
    """Return what a claim, or the end of one, rests on beside the task itself."""
    fact = verified.fact
    if isinstance(fact, Claim):
        return [id_ for id_ in (fact.supersedes, fact.because, fact.presence) if id_ is not None]
    return [fact.cited] if isinstance(fact, ExchangeFact) else []


class Revoked(NamedTuple):
    """What is taken back."""

    key: PublicKey
    scope: Scope
    standing: tuple[FactId, ...]
    note: str


@dataclass(slots=True)
class Authority:
    """Signs records of trust for people on this machine."""

    participant: Participant
    admissions: Admissions

    def handle(self, now: Now, client: ClientId, request: int, command: TrustCommand) -> None:
        """Do what is asked; raises LocalError, and nothing has changed."""
        if isinstance(command, TrustInvite):
            self.admissions.invite(now, client, request, command)
            return
        if isinstance(command, AdmissionCommand):
            answer, rows = self._admission(now, command)
        elif isinstance(command, RankCommand):
            answer, rows = self._rank(now, command), ()
        else:
            answer, rows = self._root_keys(now, command)
        self.admissions.answer_durably(client, request, answer, rows)

    def _admission(self, now: Now, command: AdmissionCommand) -> tuple[Json, tuple[Row, ...]]:
        admissions = self.admissions
        match command:
            case TrustInvites():
                return admissions.tickets(now), ()
            case TrustUninvite(text):
                ticket, row = admissions.book.revoke(now, text)
                return {"ticket": ticket.hex(), "state": "expired"}, (row,)
            case TrustPending():
                return admissions.pending(now), ()
            case TrustAdmit(node, listen_s):
                return self._admit(now, node, listen_s), ()
            case TrustDeny(node):
                applicant = admissions.applicants.find(now.instant, node)
                rows = admissions.applicants.deny(applicant.key)
                shown = fingerprint(applicant.key)
                return {"denied": applicant.name, "fingerprint": shown}, rows
            case _:
                raise AssertionError(command)

    def _admit(self, now: Now, node: str | None, listen_s: float | None) -> Json:
        if listen_s is not None:
            self.admissions.check_admin()
            self.admissions.applicants.listen_until = later(now.instant, listen_s)
        elif node is None:
            raise LocalError("no_node", "nobody is named", "see `mesh pending`")
        answer: dict[str, Json] = {} if listen_s is None else {"listening_s": listen_s}
        if node is not None:
            answer |= self.admissions.admit(now, node)
        return answer

    def _rank(self, now: Now, command: RankCommand) -> Json:
        match command:
            case TrustRemove():
                return self._remove(now, command)
            case TrustAdmins():
                return self._admins()
            case TrustPromote(node, root):
                return self._promote(now, node, root)
            case TrustDemote():
                return self._demote(now, command)

    def _root_keys(self, now: Now, command: RootCommand) -> tuple[Json, tuple[Row, ...]]:
        roots = self.admissions.roots
        match command:
            case TrustRotate(given):
                return self._rotate(now, given)
            case RootExport():
                root, following = roots.spelled()
                return {"root": root, "next": following, **self._root_shown()}, ()
            case RootLock(root, following):
                rows = roots.lock(root, following)
                return {"locked": True, **self._root_shown()}, rows
            case RootKeep(root, given_next):
                return self._root_shown(), roots.put_back(root, given_next)

    def _root_shown(self) -> dict[str, Json]:
        return {"fingerprint": fingerprint(self.participant.trust.root_key)}

    # ---- whom it is about, and who signs

    def find(self, now: Now, node: str) -> PublicKey:
        """Return the key of the node that people call so; raises LocalError.

        By name or the start of an id for whoever is known here, and for anybody by fingerprint or
        public key. A start has some digits: what is done under it is done for ever. Whoever calls
        itself by the id of another is not taken for it.
        """
        known = self._named(now, node)
        known.update(dict.fromkeys(self._candidates(now, node)))
        if len(known) > 1:
            raise LocalError("ambiguous", f"{len(known)} nodes match {node}", "give more of the id")
        if not known:
            raise not_found(node)
        return next(iter(known))

    def _named(self, now: Now, name: str) -> dict[PublicKey, None]:
        trust, views = self.participant.trust, self.participant.membership.members(now)
        keys = [trust.public_key(view.id) for view in views if view.name == name]
        return {key: None for key in keys if key is not None}

    def _candidates(self, now: Now, node: str) -> Iterator[PublicKey]:
        trust = self.participant.trust
        for view in self.participant.membership.members(now):
            key = trust.public_key(view.id)
            is_start = len(node) >= ID_DIGITS_MIN and view.id.hex().startswith(node)
            if key is not None and is_start:
                yield key
        for key in trust.named_keys():
            if node in {key.hex(), fingerprint(key), node_id(key).hex()}:
                yield key

    def _signer(self, key: PublicKey, given: str | None) -> Author:
        """Return who signs a record about a key; raises LocalError when nobody here may."""
        own, trust = self.participant.author, self.participant.trust
        root = self.admissions.roots.root(given)
        if root is not None:
            return root
        if trust.is_admin(key):
            raise LocalError(
                "root_needed",
                "only the root key ranks above an admin, and it is not on this node",
                "run this where the mesh was founded, or give the root key with --root @FILE",
            )
        self.admissions.check_admin()
        return own

    def _publish(self, now: Now, records: Sequence[Verified[Any]]) -> None:
        """Let records count here and everywhere; raises LocalError unless all find room."""
        try:
            self.participant.trust.check_room(records)
        except RemoteError as full:
            raise LocalError(
                "trust_full", f"no room for this record: {full.detail}", "see `mesh status`"
            ) from None
        for record in records:
            self.participant.trust.accept(record)
        self.participant.gossip.publish(now, Family.MEMBERS, records)

    # ---- removing

    def _remove(self, now: Now, command: TrustRemove) -> Json:
        participant = self.participant
        key = self.find(now, command.node)
        if key == participant.author.public_key:
            raise LocalError(
                "self", "a node does not remove itself", "say goodbye with `mesh leave`"
            )
        if participant.trust.revocations_of(key) and not command.discard:
            raise LocalError("removed_before", f"{command.node} was removed before", DISCARD)
        signer = self._signer(key, command.root)
        standing = self._grounds_of(key) if command.discard else self._facts_of(key)
        self._revoke(now, signer, Revoked(key, Scope.EVERYTHING, standing, command.note))
        return {
            "removed": node_id(key).hex(),
            "fingerprint": fingerprint(key),
            "standing": len(standing),
            "told": sum(peer != node_id(key) for peer in participant.known_alive),
        }

    def _revoke(self, now: Now, signer: Author, revoked: Revoked) -> None:
        note, standing = normalise_text(revoked.note), revoked.standing
        try:
            NOTE.check(note)
        except RemoteError:
            raise LocalError(
                "bad_note", "the note is too long", f"{NOTE_BYTES_MAX} bytes are allowed"
            ) from None
        if len(standing) > FACTS_PER_LIST_MAX:
            raise LocalError(
                "too_many_facts",
                f"{len(standing)} facts of that node are known: too many to list",
                "remove it with --discard: nothing that it has said counts then",
            )
        pages, sheets = write_list(signer, standing)
        first = pages[0].id if pages else None
        revoked_s = max(0, int(now.wall))
        revocation = Revocation(revoked.key, revoked.scope, first, revoked_s, note)
        self._publish(now, [*pages, *signer.sign([revocation])])
        self.participant.removals.take_sheets(sheets)

    def _facts_of(self, key: PublicKey) -> tuple[FactId, ...]:
        """Return what is known here of the words of a key, about tasks and as an admin."""
        facts = self.participant.gossip.facts(Family.TASKS)
        said = [fact.id for fact in facts if fact.signed.author == key]
        return tuple(dict.fromkeys((*said, *self._records_of(key))))

    def _grounds_of(self, key: PublicKey) -> tuple[FactId, ...]:
        """Return the words of a key on which claims of others rest: what they superseded, and why.

        None of them gives anybody anything by itself any more; without them the claims of those who
        went on with the work, and their results, would be void. So would be what others have done
        for it; what nobody has done yet shall not be.
        """
        gossip, found = self.participant.gossip, dict[FactId, None]()
        facts = gossip.facts(Family.TASKS)
        waiting = [v for v in facts if isinstance(v.fact, Claim) and v.signed.author != key]
        found.update(dict.fromkeys(v.fact.spec for v in waiting if self._is_done(v, key)))
        while waiting:
            for cited in _grounds(waiting.pop()):
                ground = gossip.get(Family.TASKS, cited)
                if ground is not None and cited not in found:
                    found[cited] = None
                    waiting.append(ground)
        held = [gossip.get(Family.TASKS, id_) for id_ in found]
        return tuple(v.id for v in held if v is not None and v.signed.author == key)

    def _is_done(self, claim: Verified[Claim], key: PublicKey) -> bool:
        """Whether a claim is on a task that is completed, by anybody but the owner of a key."""
        record = self.participant.table.record(claim.fact.task)
        winner = None if record is None else record.winner
        return winner is not None and winner.signed.author != key

    def _records_of(self, key: PublicKey) -> tuple[FactId, ...]:
        records = self.participant.trust.records()
        return tuple(record.id for record in records if record.signed.author == key)

    # ---- ranks

    def _admins(self) -> Json:
        trust, roots = self.participant.trust, self.admissions.roots
        shown: list[Json] = []
        for admin in trust.admins():
            key = admin.fact.key
            node = node_id(key)
            name = self.participant.name(node)
            shown.append({"name": name, "id": node.hex(), "fingerprint": fingerprint(key)})
        removed = [node_id(key).hex() for key in trust.revoked()]
        return {
            "admins": shown,
            "removed": list[Json](removed),
            "root": {**self._root_shown(), "here": roots.root() is not None},
        }

    def _needed_root(self, given: str | None) -> Author:
        root = self.admissions.roots.root(given)
        if root is None:
            raise LocalError(
                "root_needed",
                "only the root key makes and ends admins, and it is not on this node",
                "run this where the mesh was founded, or give the root key with --root @FILE",
            )
        return root

    def _promote(self, now: Now, node: str, given: str | None) -> Json:
        trust, key = self.participant.trust, self.find(now, node)
        root = self._needed_root(given)
        if not trust.is_member(key):
            raise LocalError("not_member", f"{node} is no member", "invite it first")
        if key in trust.ranks.lists:
            raise LocalError(
                "was_admin",
                f"{node} was an admin, and is one no more for good",
                "give it a new key with `mesh rekey`, or choose another node",
            )
        if not trust.is_admin(key):
            if len(trust.admins()) >= ADMINS_MAX:
                raise LocalError(
                    "trust_full",
                    f"a mesh has at most {ADMINS_MAX} admins",
                    "end another one first, with `mesh admin remove`",
                )
            self._publish(now, root.sign([Admin(key)]))
        return {"admin": node_id(key).hex(), "fingerprint": fingerprint(key)}

    def _demote(self, now: Now, command: TrustDemote) -> Json:
        key = self.find(now, command.node)
        root = self._needed_root(command.root)
        if not self.participant.trust.is_admin(key):
            raise LocalError("not_admin", f"{command.node} is no admin", "see `mesh admin list`")
        standing = self._records_of(key)
        self._revoke(now, root, Revoked(key, Scope.ADMIN, standing, command.note))
        return {"demoted": node_id(key).hex(), "fingerprint": fingerprint(key)}

    # ---- the root

    def _rotate(self, now: Now, given: str | None) -> tuple[Json, tuple[Row, ...]]:
        participant, roots = self.participant, self.admissions.roots
        trust = participant.trust
        root = roots.successor(given)
        kept = roots.now, roots.next
        following, rows = roots.rotated(root.key, self.admissions.setup.rng)
        promised = root_key_hash(participant.author.suite.public_key(following))
        former = trust.root_key
        pages, sheets = write_list(root, self._records_of(former))
        first = pages[0].id if pages else None
        rotation = Rotation(former, promised, first, max(0, int(now.wall)))
        try:
            # The rotation first: pages by a root that nobody knows yet have little room to wait.
            self._publish(now, [*root.sign([rotation]), *pages])
        except LocalError:
            roots.now, roots.next = kept
            raise
        participant.removals.take_sheets(sheets)
        return {"next": spell_key(following), **self._root_shown()}, rows
