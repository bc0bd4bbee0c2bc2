"""Who may take part: a pure function of the set of trust records, whatever their order.

The mesh id pins one genesis, the genesis pins the root key, the root key names admins, and an
admin's certificate lets a key take part (in an open mesh a key's own certificate does); whoever
outranks a key can take that back. A record that arrives before the one it rests on is set aside and
is held as soon as that one is there. What is held only grows; what counts of it is read anew
whenever the ranks may have changed, so two nodes with the same records give the same answers.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.core.crypto.keys import check_public_key, root_key_hash
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId, MeshId, NodeId, PublicKey, node_id
from mesh.core.instants import WallTime
from mesh.core.trust.ranks import ROTATIONS_MAX, Ranks, Records, read_ranks
from mesh.core.trust.records import (
    PAGE_SHEETS_MAX,
    TRUST_CONTEXTS,
    Admin,
    Certificate,
    Genesis,
    Revocation,
    Rotation,
    Scope,
    StandingPage,
    mesh_id_of,
)
from mesh.core.trust.standing import is_known_listed, is_listed, is_sheet, sheet_digest
from mesh.core.wire.envelope import Verified

ADMIN_RECORDS_MAX = 64
"""Of former admins too."""
CERTIFICATES_MAX = 4096
REVOCATIONS_MAX = 4096
PAGES_MAX = 4096
"""A list of 100,000 facts takes 66; of a page's sheets at most 24 KiB are kept."""
SHARE_OF_ONE_AUTHOR = 4
"""One admin gets at most one in so many of the certificates, revocations and pages."""
PENDING_MAX = 64
_PRECEDENCE = {kind: place for place, kind in enumerate(TRUST_CONTEXTS.values())}
"""Records rest on records of the kinds before, so that in this order few have to wait."""


def expired(certificate: Certificate, wall: WallTime) -> bool:
    """Whether a certificate has run out: that closes links, and never takes a fact back."""
    return 0 < certificate.expires_s <= wall


def precedence(verified: Verified[Any]) -> tuple[int, FactId]:
    """Return a key to sort trust records by: each after the kinds that it rests on."""
    return _PRECEDENCE[type(verified.fact)], verified.id


def _lasting(verified: Verified[Certificate]) -> tuple[float, int, FactId]:
    certificate = verified.fact
    return certificate.expires_s or float("inf"), certificate.issued_s, verified.id


class Trust:
    """The trust records of one mesh, and what follows from them."""

    def __init__(self, mesh: MeshId) -> None:
        self.mesh = mesh
        self._records = Records()
        self._ranks = Ranks()
        self._ranks_are_old = True
        self._version = 0
        self._wanted: dict[bytes, None] = {}
        self._roots: tuple[PublicKey, ...] = ()
        self._admin_keys: dict[PublicKey, None] = {}
        """Everybody whom a root has ever made admin."""
        self._certificates: dict[FactId, Verified[Certificate]] = {}
        self._by_key: dict[PublicKey, dict[FactId, Verified[Certificate]]] = {}
        self._said: dict[tuple[type[Any], PublicKey], int] = {}
        self._keys: dict[NodeId, PublicKey] = {}
        self._pending: dict[FactId, Verified[Any]] = {}
        self._promoted: list[Verified[Any]] = []

    # ---- records come in

    def accept(self, verified: Verified[Any]) -> bool:
        """Whether a record is held now: keep it and pass it on.

        False: what it rests on is missing; it is set aside (bounded) and `take_promoted` names it
        once it is held. Raises RemoteError when it breaks a rule or a cap; nothing has changed
        then.
        """
        if self._holds(verified):
            return True
        if not self._rests(verified):
            self._set_aside(verified)
            return False
        self._keep(verified)
        self._pending.pop(verified.id, None)
        self._promote()
        return True

    def restore(self, records: Iterable[Verified[Any]]) -> None:
        """Accept many records in an order in which few have to wait; raises as `accept`."""
        for verified in sorted(records, key=precedence):
            self.accept(verified)

    def take_promoted(self) -> tuple[Verified[Any], ...]:
        """Return the records that were set aside and have come to be held since the last call."""
        promoted = tuple(self._promoted)
        self._promoted.clear()
        return promoted

    def _holds(self, verified: Verified[Any]) -> bool:
        id_, held = verified.id, self._records
        if isinstance(verified.fact, Genesis):
            return held.genesis is not None and held.genesis.id == id_
        return id_ in self._certificates or any(
            id_ in kind for kind in (held.rotations, held.admins, held.revocations, held.pages)
        )

    def _rests(self, verified: Verified[Any]) -> bool:
        """Whether the record it rests on is here; raises RemoteError when it rests on nothing."""
        author, fact = verified.signed.author, verified.fact
        if verified.signed.count != 1:
            # A chain has to fit one greeting, so no admin may make another one's longer.
            raise RemoteError(Refusal.BROKEN_RULE, "a record of trust is signed alone")
        match fact:
            case Genesis(root_key=root_key):
                check_public_key(root_key)
                if mesh_id_of(verified.signed.payload) != self.mesh:
                    raise RemoteError(Refusal.WRONG_MESH, "a genesis of another mesh")
                if author != root_key:
                    raise RemoteError(Refusal.AUTHOR_MISMATCH, "a genesis not by its root key")
                return True
            case Rotation():
                check_public_key(author)
                return self._is_promised(author, fact.former)
            case Admin(key):
                check_public_key(key)
                return self._is_root(author)
            case Certificate(key):
                check_public_key(key)
                return self._may_certify(author, key)
            case Revocation() | StandingPage():
                if isinstance(fact, Revocation) and fact.scope not in tuple(Scope):
                    raise RemoteError(Refusal.BROKEN_RULE, f"no scope {fact.scope}")
                return author in self._admin_keys or author in self._roots
            case _:
                raise AssertionError(f"no trust record: {fact}")

    def _is_promised(self, author: PublicKey, former: PublicKey) -> bool:
        """Whether a rotation follows the root that it names; raises when it never can."""
        if former not in self._roots:
            return False
        at = self._roots.index(former) + 1
        if at < len(self._roots):
            promised = self._roots[at] == author
        else:
            promised = root_key_hash(author) == self.ranks.next_root_hash
        if not promised:
            raise RemoteError(Refusal.AUTHOR_MISMATCH, "a root that the former one never promised")
        return True

    def _is_root(self, author: PublicKey) -> bool:
        if author in self._roots:
            return True
        if self.founded and root_key_hash(author) != self.ranks.next_root_hash:
            raise RemoteError(Refusal.AUTHOR_MISMATCH, "an admin not by the root key")
        return False

    def _may_certify(self, author: PublicKey, key: PublicKey) -> bool:
        if not self.founded:
            return False
        return author in self._admin_keys or (self.genesis.fact.open and author == key)

    def _keep(self, verified: Verified[Any]) -> None:
        fact, held, id_ = verified.fact, self._records, verified.id
        said = type(fact), verified.signed.author
        self._check_caps(*said, 1, is_root=said[1] in self._roots)
        self._said[said] = self._said.get(said, 0) + 1
        if isinstance(fact, Certificate):
            self._certificates[id_] = verified
            self._by_key.setdefault(fact.key, {})[id_] = verified
            self._keys[node_id(fact.key)] = fact.key
            return
        match fact:
            case Genesis():
                held.genesis = verified
            case Rotation():
                held.rotations[id_] = verified
            case Admin(key):
                held.admins[id_] = verified
                self._admin_keys[key] = None
                self._keys[node_id(key)] = key
            case Revocation(key):
                held.revocations[id_] = verified
                self._keys[node_id(key)] = key
            case _:
                held.pages[id_] = verified
        self._ranks_are_old = True
        if isinstance(fact, Genesis | Rotation):
            self._roots = self.ranks.roots

    def check_room(self, records: Iterable[Verified[Any]]) -> None:
        """Raise RemoteError(OVER_CAP) unless all these records of one author find room."""
        said: dict[tuple[type[Any], PublicKey], int] = {}
        for verified in records:
            if not self._holds(verified):
                key = type(verified.fact), verified.signed.author
                said[key] = said.get(key, 0) + 1
        for (kind, author), count in said.items():
            is_root = author in self._roots or (Rotation, author) in said
            self._check_caps(kind, author, count, is_root=is_root)

    def _check_caps(self, kind: type[Any], author: PublicKey, count: int, *, is_root: bool) -> None:
        for name, size, cap in self.table_sizes():
            if name == _TABLES.get(kind) and size + count > cap:
                raise RemoteError(Refusal.OVER_CAP, f"more than {cap} of {name}")
        if kind in _SHARED and not is_root:
            cap = _SHARED[kind] // SHARE_OF_ONE_AUTHOR
            if self._said.get((kind, author), 0) + count > cap:
                raise RemoteError(Refusal.OVER_CAP, f"more than {cap} {kind.CONTEXT} of one admin")

    def _set_aside(self, verified: Verified[Any]) -> None:
        if verified.id not in self._pending and len(self._pending) >= PENDING_MAX:
            raise RemoteError(Refusal.OVER_CAP, "too many records rest on unknown ones")
        self._pending[verified.id] = verified

    def _promote(self) -> None:
        promoted = True
        while promoted:  # a record that is held now may be what another one waits for
            promoted = False
            for verified in sorted(self._pending.values(), key=precedence):
                try:
                    if not self._rests(verified):
                        continue
                    self._keep(verified)
                except RemoteError:
                    del self._pending[verified.id]
                    continue
                del self._pending[verified.id]
                self._promoted.append(verified)
                promoted = True

    # ---- what follows from them

    @property
    def ranks(self) -> Ranks:
        """Who is root and admin, and who was; the same object until something has changed."""
        if self._ranks_are_old:
            self._read_ranks()
        return self._ranks

    def _read_ranks(self) -> None:
        self._ranks_are_old = False
        ranks = read_ranks(self._records)
        if ranks != self._ranks:
            self._ranks = ranks
            self._version += 1
            self._wanted = dict.fromkeys(self._missing_sheets())

    @property
    def version(self) -> int:
        """Rises whenever the ranks, or what is known to stand, changed: facts are judged again."""
        if self._ranks_are_old:
            self._read_ranks()
        return self._version

    def _missing_sheets(self) -> Iterator[bytes]:
        for lists in (*self._ranks.lists.values(), *self._ranks.listed.values()):
            for standing in lists:
                yield from () if standing is None else standing.missing()

    def wanted_sheets(self) -> Mapping[bytes, None]:
        """Return the digests of the sheets that lists which count name, and that are not here."""
        if self._ranks_are_old:
            self._read_ranks()
        return self._wanted

    def sheet(self, digest: bytes) -> bytes | None:
        """Return a sheet that is here."""
        return self._records.sheets.get(digest)

    def accept_sheets(self, sheets: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
        """Take those that are wanted; return them with their digests."""
        wanted, taken = self.wanted_sheets(), []
        for sheet in sheets:
            digest = sheet_digest(sheet)
            if digest in wanted and is_sheet(sheet):
                del self._wanted[digest]
                self._records.sheets[digest] = sheet
                taken.append((digest, sheet))
        if taken:
            self._ranks_are_old = True
            self._version += 1
        return taken

    @property
    def founded(self) -> bool:
        """Whether the genesis is here."""
        return self._records.genesis is not None

    @property
    def genesis(self) -> Verified[Genesis]:
        """The birth of the mesh; ask `founded` first."""
        assert self._records.genesis is not None
        return self._records.genesis

    @property
    def root_key(self) -> PublicKey:
        """The root key now; ask `founded` first."""
        return self.ranks.roots[-1]

    def _certificates_of(self, key: PublicKey) -> list[Verified[Certificate]]:
        """Return the certificates that count."""
        ranks = self.ranks
        if key in ranks.revoked or not self.founded:
            return []
        is_open = self.genesis.fact.open
        return [
            held
            for held in self._by_key.get(key, {}).values()
            if (is_open and held.signed.author == key)
            or (held.signed.author not in ranks.roots and ranks.counts(held.signed.author, held.id))
        ]

    def is_member(self, public_key: PublicKey) -> bool:
        """Whether what this key says counts; expiry plays no part."""
        return bool(self._certificates_of(public_key))

    def member_count(self) -> int:
        """Return how many keys take part, wherever they are now."""
        return sum(self.is_member(key) for key in self._by_key)

    def is_known(self, public_key: PublicKey) -> bool:
        """Whether a key takes part or has done so: what it said as an observer is not undone."""
        return public_key in self._by_key or self.genesis.fact.open

    def is_member_id(self, node: NodeId) -> bool:
        """Whether the key behind a node id is a member's."""
        key = self._keys.get(node)
        return key is not None and self.is_member(key)

    def has_left_id(self, node: NodeId) -> bool:
        """Whether the key behind a node id takes part no more.

        Of a key without a certificate nobody can tell: the record of an admin may be here first.
        """
        key = self._keys.get(node)
        return key in self.ranks.revoked or (key in self._by_key and not self.is_member(key))

    def is_admin(self, public_key: PublicKey) -> bool:
        """Whether this key may admit others."""
        return public_key in self.ranks.admins

    def is_admin_id(self, node: NodeId) -> bool:
        """Whether the key behind a node id is an admin's."""
        key = self._keys.get(node)
        return key is not None and self.is_admin(key)

    def was_admin_id(self, node: NodeId) -> bool:
        """Whether the key behind a node id is an admin's, or was one before it was taken back.

        Unlike `is_admin_id` this does not turn with time: what rests on it is not undone.
        """
        key = self._keys.get(node)
        ranks = self.ranks
        return key is not None and (
            key in ranks.admins or key in ranks.surplus or key in ranks.lists
        )

    def public_key(self, node: NodeId) -> PublicKey | None:
        """Return the key behind the node id of somebody who is or was an admin or member."""
        return self._keys.get(node)

    def named_keys(self) -> tuple[PublicKey, ...]:
        """Return every key that a record names."""
        return tuple(self._keys.values())

    def revocations_of(self, public_key: PublicKey) -> tuple[Verified[Revocation], ...]:
        """Return what ended a key's part, by id; () while it has not ended."""
        return self.ranks.revoked.get(public_key, ())

    def revoked(self) -> tuple[PublicKey, ...]:
        """Return the keys that take part no more."""
        return tuple(self.ranks.revoked)

    def may_speak(self, public_key: PublicKey) -> bool:
        """Whether it is worth looking at what a key says; cheap."""
        ranks = self.ranks
        if public_key in ranks.revoked:
            lists = ranks.listed[public_key]
            return public_key in ranks.lists or any(one and one.digests for one in lists)
        return (
            public_key in self._admin_keys
            or public_key in ranks.roots
            or (self.founded and self.genesis.fact.open)
            or self.is_member(public_key)
            or root_key_hash(public_key) == ranks.next_root_hash
        )

    def counts(self, author: PublicKey, id_: FactId, *, is_new: bool) -> bool:
        """Whether a fact that is no trust record counts, as far as its author goes.

        After a revocation, what is listed does. While the page or the sheet is missing that would
        say so, what is held goes on counting, and nothing new does.
        """
        lists = self.ranks.listed.get(author)
        if lists is None:
            return self.is_member(author)
        judge = is_known_listed if is_new else is_listed
        return all(judge(standing, id_) for standing in lists)

    def link_allowed(self, public_key: PublicKey, wall: WallTime) -> bool:
        """Whether links with a key may be open now: it has a certificate that has not run out."""
        return any(not expired(held.fact, wall) for held in self._certificates_of(public_key))

    def admins(self) -> tuple[Verified[Admin], ...]:
        """Return the records of all admins, by id."""
        return tuple(sorted(self.ranks.admins.values(), key=precedence))

    def rotations(self) -> tuple[Verified[Rotation], ...]:
        """Return what led from the first root to the root now, in this order."""
        roots = self.ranks.roots
        held = [r for r in self._records.rotations.values() if r.signed.author in roots]
        return tuple(sorted(held, key=lambda rotation: roots.index(rotation.signed.author)))

    def chain(self, public_key: PublicKey) -> tuple[Verified[Any], ...]:
        """Return the records that prove a member to whoever knows the genesis; () for others.

        The admin record, then the certificate that lasts longest; the certificate alone when the
        key of an open mesh made it itself.
        """
        certificates = self._certificates_of(public_key)
        if not certificates:
            return ()
        certificate = max(certificates, key=_lasting)
        return (*self.proof_of_admin(certificate.signed.author), certificate)

    def proof_of_admin(self, public_key: PublicKey) -> tuple[Verified[Admin], ...]:
        """Return the record that made somebody an admin; () for whoever never was."""
        made = [held for held in self._records.admins.values() if held.fact.key == public_key]
        return tuple(sorted(made, key=precedence)[:1])

    def records(self) -> tuple[Verified[Any], ...]:
        """Return every record that is held, each after the kinds it rests on, each kind by id."""
        held: list[Verified[Any]] = list(self._certificates.values())
        for kind in (
            self._records.rotations,
            self._records.admins,
            self._records.revocations,
            self._records.pages,
        ):
            held += kind.values()
        if self._records.genesis is not None:
            held.append(self._records.genesis)
        return tuple(sorted(held, key=precedence))

    def table_sizes(self) -> tuple[tuple[str, int, int], ...]:
        """Return (name, entries, cap) of every table."""
        held = self._records
        return (
            ("trust_admins", len(held.admins), ADMIN_RECORDS_MAX),
            ("trust_rotations", len(held.rotations), ROTATIONS_MAX),
            ("trust_certificates", len(self._certificates), CERTIFICATES_MAX),
            ("trust_revocations", len(held.revocations), REVOCATIONS_MAX),
            ("trust_pages", len(held.pages), PAGES_MAX),
            ("trust_sheets", len(held.sheets), PAGES_MAX * PAGE_SHEETS_MAX),
            ("trust_pending", len(self._pending), PENDING_MAX),
        )


_TABLES: dict[type[Any], str] = {
    Admin: "trust_admins",
    Rotation: "trust_rotations",
    Certificate: "trust_certificates",
    Revocation: "trust_revocations",
    StandingPage: "trust_pages",
}
_SHARED: dict[type[Any], int] = {
    Certificate: CERTIFICATES_MAX,
    Revocation: REVOCATIONS_MAX,
    StandingPage: PAGES_MAX,
}
