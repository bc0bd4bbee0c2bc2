"""Ranks: who is root, who is admin, and who was: a pure function of the set of records.

Root outranks admin outranks node. A record is judged only by records of a higher rank, so there is
no cycle, and reading them from the top down needs no order of arrival: first the chain of roots,
each promised by the one before; then what roots have said of admins; then what admins have said
of nodes. An admin's word against another admin, or against a root, counts for nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mesh.core.crypto.keys import root_key_hash
from mesh.core.identity import FactId, PublicKey
from mesh.core.trust.records import Admin, Genesis, Revocation, Rotation, Scope, StandingPage
from mesh.core.trust.standing import AnyStanding, Standing, is_listed, read_pages
from mesh.core.wire.envelope import Verified

ROTATIONS_MAX = 64
ADMINS_MAX = 16
NOTHING = Standing()


@dataclass(slots=True)
class Records:
    """The records from which ranks follow, by id."""

    genesis: Verified[Genesis] | None = None
    rotations: dict[FactId, Verified[Rotation]] = field(default_factory=dict)
    admins: dict[FactId, Verified[Admin]] = field(default_factory=dict)
    revocations: dict[FactId, Verified[Revocation]] = field(default_factory=dict)
    pages: dict[FactId, Verified[StandingPage]] = field(default_factory=dict)
    sheets: dict[bytes, bytes] = field(default_factory=dict)
    """What pages name, by digest."""
    _whole: dict[FactId, AnyStanding] = field(default_factory=dict)
    """Lists all of whose pages are here, by the first one: they never change again."""

    def standing(self, first: FactId | None) -> AnyStanding:
        """Return the list that begins with a page."""
        if first is None:
            return NOTHING
        known = self._whole.get(first) or read_pages(first, self.pages, self.sheets)
        if known is not None:
            self._whole[first] = known
        return known


@dataclass(frozen=True, slots=True)
class Ranks:
    """What the records add up to."""

    roots: tuple[PublicKey, ...] = ()
    """Oldest first; the last one is the root now."""
    next_root_hash: bytes = b""
    """What the root now has promised."""
    admins: Mapping[PublicKey, Verified[Admin]] = field(default_factory=dict)
    """At most `ADMINS_MAX`: of more those whose records have the least ids."""
    surplus: Mapping[PublicKey, Verified[Admin]] = field(default_factory=dict)
    """The others: no admins, but what they sign counts, so that one more takes nothing away."""
    revoked: Mapping[PublicKey, tuple[Verified[Revocation], ...]] = field(default_factory=dict)
    """The revocations that count, by the key that takes part no more; each kind by id."""
    lists: Mapping[PublicKey, tuple[AnyStanding, ...]] = field(default_factory=dict)
    """For former roots and admins: what of their records goes on counting, by every list."""
    listed: Mapping[PublicKey, tuple[AnyStanding, ...]] = field(default_factory=dict)
    """For revoked keys: what of all their facts goes on counting, by every list."""

    def counts(self, author: PublicKey, id_: FactId) -> bool:
        """Whether a record of an admin or a root counts; not whether it is a sensible one."""
        if author in self.lists:
            return all(is_listed(standing, id_) for standing in self.lists[author])
        return author in self.admins or author in self.surplus or author in self.roots


def _by_id(verified: Verified[Any]) -> FactId:
    return verified.id


def read_ranks(records: Records) -> Ranks:
    """Return the ranks; everything counts for nothing before the genesis is there."""
    if records.genesis is None:
        return Ranks()
    reading = _Reading(records)
    reading.follow_roots(records.genesis)
    reading.hear_roots()
    reading.hear_admins()
    return Ranks(
        roots=tuple(reading.roots),
        next_root_hash=reading.promised,
        admins=dict(islice(reading.admins.items(), ADMINS_MAX)),
        surplus=dict(islice(reading.admins.items(), ADMINS_MAX, None)),
        revoked={key: tuple(found) for key, found in reading.revoked.items()},
        lists={key: tuple(found) for key, found in reading.lists.items()},
        listed={
            key: tuple(records.standing(revocation.fact.standing) for revocation in found)
            for key, found in reading.revoked.items()
        },
    )


@dataclass(slots=True)
class _Reading:
    """The records while they are read, from the top down."""

    records: Records
    roots: list[PublicKey] = field(default_factory=list)
    promised: bytes = b""
    admins: dict[PublicKey, Verified[Admin]] = field(default_factory=dict)
    """All whom a root made one, by the ids of the records."""
    revoked: dict[PublicKey, list[Verified[Revocation]]] = field(default_factory=dict)
    lists: dict[PublicKey, list[AnyStanding]] = field(default_factory=dict)

    def follow_roots(self, genesis: Verified[Genesis]) -> None:
        """From the genesis on, each root is the one that the root before it has promised."""
        self.roots.append(genesis.fact.root_key)
        self.promised = genesis.fact.next_root_hash
        rotations = sorted(self.records.rotations.values(), key=_by_id)
        for _ in rotations:
            following = next(filter(self._is_next, rotations), None)
            if following is None:
                break
            self.lists[self.roots[-1]] = [self.records.standing(following.fact.standing)]
            self.roots.append(following.signed.author)
            self.promised = following.fact.next_root_hash

    def _is_next(self, rotation: Verified[Rotation]) -> bool:
        author = rotation.signed.author
        return (
            rotation.fact.former == self.roots[-1]
            and author not in self.roots
            and root_key_hash(author) == self.promised
        )

    def _counts(self, verified: Verified[Any]) -> bool:
        lists = self.lists.get(verified.signed.author, ())
        return all(is_listed(standing, verified.id) for standing in lists)

    def _said_by(self, authors: Mapping[PublicKey, Any]) -> Iterator[Verified[Revocation]]:
        for revocation in sorted(self.records.revocations.values(), key=_by_id):
            if revocation.signed.author in authors and self._counts(revocation):
                yield revocation

    def hear_roots(self) -> None:
        """A root makes admins, ends them, and revokes anybody but roots."""
        roots = dict.fromkeys(self.roots)
        for admin in sorted(self.records.admins.values(), key=_by_id):
            if admin.signed.author in roots and self._counts(admin):
                self.admins.setdefault(admin.fact.key, admin)
        for revocation in self._said_by(roots):
            key = revocation.fact.key
            if key in roots:
                continue
            if revocation.fact.scope == Scope.EVERYTHING:
                self.revoked.setdefault(key, []).append(revocation)
            if key in self.admins:
                standing = self.records.standing(revocation.fact.standing)
                self.lists.setdefault(key, []).append(standing)
        self.admins = {key: held for key, held in self.admins.items() if key not in self.lists}

    def hear_admins(self) -> None:
        """An admin, or one who was, as far as its words still count, revokes nodes."""
        roots = dict.fromkeys(self.roots)
        former = {key: None for key in self.lists if key not in roots}
        for revocation in self._said_by({**self.admins, **former}):
            key, scope = revocation.fact.key, revocation.fact.scope
            if key in self.admins or key in roots or scope != Scope.EVERYTHING:
                continue
            self.revoked.setdefault(key, []).append(revocation)
