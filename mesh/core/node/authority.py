"""What people with authority over the mesh ask of this node: to invite, to remove, to rank.

Everything here ends in signed records. Who may sign what is decided by `trust`, everywhere alike;
here it is only made sure that a person is told at once when a record would count for nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.core.commands import TrustCommand, TrustInvite, TrustRemove
from mesh.core.crypto.keys import fingerprint
from mesh.core.crypto.spelling import read_key
from mesh.core.crypto.suite import SigningKey
from mesh.core.effects import ClientId, Json
from mesh.core.errors import LocalError, RemoteError
from mesh.core.gossip.gossip import Family
from mesh.core.identity import FactId, PublicKey, node_id
from mesh.core.instants import Now
from mesh.core.node.admissions import Admissions
from mesh.core.node.participant import Participant
from mesh.core.trust.records import NOTE_BYTES_MAX, TRUST_CONTEXTS, Revocation, Scope
from mesh.core.trust.standing import FACTS_PER_LIST_MAX, write_pages
from mesh.core.wire.codec import Text, normalise_text
from mesh.core.wire.envelope import Author, Verified, author_of

NOTE = Text(NOTE_BYTES_MAX)


def not_found(node: str) -> LocalError:
    """Return the error for a node that nobody knows of."""
    return LocalError("not_found", f"no node {node}", "see `mesh members`")


@dataclass(slots=True)
class Authority:
    """Signs records of trust for people on this machine."""

    participant: Participant
    admissions: Admissions

    def handle(self, now: Now, client: ClientId, request: int, command: TrustCommand) -> None:
        """Do what is asked; raises LocalError, and nothing has changed."""
        match command:
            case TrustInvite():
                self.admissions.invite(now, client, request, command)
            case TrustRemove():
                answer = self._remove(now, command)
                self.admissions.answer_durably(client, request, answer)

    # ---- whom it is about, and who signs

    def find(self, now: Now, node: str) -> PublicKey:
        """Return the key of the node that people call so; raises LocalError.

        By name or the start of an id for whoever is known here, and for anybody by fingerprint or
        public key.
        """
        named = self._named(now, node)
        known = named or dict.fromkeys(self._candidates(now, node))
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
            if key is not None and view.id.hex().startswith(node):
                yield key
        for key in trust.named_keys():
            if node in {key.hex(), fingerprint(key), node_id(key).hex()}:
                yield key

    def _root(self, given: str | None) -> Author | None:
        """Return the root as a signer, from what a person typed or from this disk."""
        own, trust = self.participant.author, self.participant.trust
        if given is None:
            root = self.admissions.root
            return root if root is not None and root.public_key == trust.root_key else None
        root = author_of(own.suite, SigningKey(read_key(given)), own.verifier)
        if root.public_key != trust.root_key:
            raise LocalError(
                "not_the_root",
                "this is not the root key of this mesh, or no longer",
                f"the root key now has the fingerprint {fingerprint(trust.root_key)}",
            )
        return root

    def _signer(self, key: PublicKey, given: str | None) -> Author:
        """Return who signs a record about a key; raises LocalError when nobody here may."""
        own, trust = self.participant.author, self.participant.trust
        root = self._root(given)
        if root is not None:
            return root
        if trust.is_admin(key):
            raise LocalError(
                "root_needed",
                "only the root key ranks above an admin, and it is not on this node",
                "run this where the mesh was founded, or give the root key with --root @FILE",
            )
        if not trust.is_admin(own.public_key):
            raise LocalError(
                "not_admin",
                "this node may not do that: it is no admin of the mesh",
                "run it on an admin: `mesh admin list` shows who is one",
            )
        return own

    def _publish(self, now: Now, records: Sequence[Verified[Any]]) -> None:
        """Let records count here and everywhere; raises LocalError when one finds no room."""
        for record in records:
            try:
                self.participant.trust.accept(record)
            except RemoteError as full:
                raise LocalError(
                    "trust_full", f"no room for this record: {full.detail}", "see `mesh status`"
                ) from None
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
            raise LocalError("removed_before", f"{command.node} was removed before", "")
        signer = self._signer(key, command.root)
        note = normalise_text(command.note)
        try:
            NOTE.check(note)
        except RemoteError:
            raise LocalError(
                "bad_note", "the note is too long", f"{NOTE_BYTES_MAX} bytes are allowed"
            ) from None
        standing = () if command.discard else self._facts_of(key)
        if len(standing) > FACTS_PER_LIST_MAX:
            raise LocalError(
                "too_many_facts",
                f"{len(standing)} facts of that node are known: too many to list",
                "remove it with --discard: nothing that it has said counts then",
            )
        pages = write_pages(signer, standing)
        first = pages[0].id if pages else None
        revoked_s = max(0, int(now.wall))
        revocation = Revocation(key, Scope.EVERYTHING, first, revoked_s, note)
        self._publish(now, [*pages, *signer.sign([revocation])])
        return {
            "removed": node_id(key).hex(),
            "fingerprint": fingerprint(key),
            "standing": len(standing),
        }

    def _facts_of(self, key: PublicKey) -> tuple[FactId, ...]:
        """Return what is known here of the words of a key, about tasks and as an admin."""
        gossip = self.participant.gossip
        said = [fact.id for fact in gossip.facts(Family.TASKS) if fact.signed.author == key]
        said += [
            fact.id
            for fact in gossip.facts(Family.MEMBERS)
            if fact.signed.author == key and fact.signed.context in TRUST_CONTEXTS
        ]
        return tuple(dict.fromkeys(said))
