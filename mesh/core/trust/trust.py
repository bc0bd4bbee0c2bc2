"""Who may take part: a pure function of the set of trust records, whatever their order.

The mesh id pins one genesis, the genesis pins the root key, the root key names admins, and an
admin's certificate lets a key take part (in an open mesh a key's own certificate does). A record
that arrives before the one it rests on is set aside and counts as soon as that one is there, so
two nodes with the same records give the same answers.

Every question about a key goes through `_certificates_of` or `_admin_record`: a set of revoked
keys belongs there and nowhere else.
"""

from collections.abc import Iterable
from typing import Any

from mesh.core.crypto.keys import check_public_key
from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import FactId, MeshId, NodeId, PublicKey, node_id
from mesh.core.instants import WallTime
from mesh.core.trust.records import Admin, Certificate, Genesis, mesh_id_of
from mesh.core.wire.envelope import Verified

ADMINS_MAX = 16
CERTIFICATES_MAX = 4096
PENDING_MAX = 64
TrustFact = Genesis | Admin | Certificate
_PRECEDENCE: dict[type[TrustFact], int] = {Genesis: 0, Admin: 1, Certificate: 2}
"""Records rest on records of the kind before, so that in this order nothing has to wait."""


def expired(certificate: Certificate, wall: WallTime) -> bool:
    """Whether a certificate has run out: that closes links, and never takes a fact back."""
    return 0 < certificate.expires_s <= wall


def _precedence(verified: Verified[Any]) -> tuple[int, FactId]:
    return _PRECEDENCE[type(verified.fact)], verified.id


def _lasting(verified: Verified[Certificate]) -> tuple[float, int, FactId]:
    certificate = verified.fact
    return certificate.expires_s or float("inf"), certificate.issued_s, verified.id


class Trust:
    """The trust records of one mesh, and what follows from them."""

    def __init__(self, mesh: MeshId) -> None:
        self.mesh = mesh
        self._genesis: Verified[Genesis] | None = None
        self._admins: dict[PublicKey, Verified[Admin]] = {}
        self._certificates: dict[FactId, Verified[Certificate]] = {}
        self._by_key: dict[PublicKey, dict[FactId, Verified[Certificate]]] = {}
        self._keys: dict[NodeId, PublicKey] = {}
        self._pending: dict[FactId, Verified[Any]] = {}
        self._promoted: list[Verified[Any]] = []

    # ---- records come in

    def accept(self, verified: Verified[Any]) -> bool:
        """Whether a record counts now: keep it and pass it on.

        False: what it rests on is missing; it is set aside (bounded) and `take_promoted` names it
        once it counts. Raises RemoteError when it breaks a rule or a cap; nothing has changed then.
        """
        if self._holds(verified):
            return True
        if not self._counts(verified):
            self._set_aside(verified)
            return False
        self._keep(verified)
        self._pending.pop(verified.id, None)
        self._promote()
        return True

    def restore(self, records: Iterable[Verified[Any]]) -> None:
        """Accept many records in an order in which none has to wait; raises as `accept`."""
        for verified in sorted(records, key=_precedence):
            self.accept(verified)

    def take_promoted(self) -> tuple[Verified[Any], ...]:
        """Return the records that were set aside and have come to count since the last call."""
        promoted = tuple(self._promoted)
        self._promoted.clear()
        return promoted

    def _holds(self, verified: Verified[Any]) -> bool:
        match verified.fact:
            case Genesis():
                return self._genesis is not None and self._genesis.id == verified.id
            case Admin(key):
                held = self._admins.get(key)
                return held is not None and held.id == verified.id
            case _:
                return verified.id in self._certificates

    def _counts(self, verified: Verified[Any]) -> bool:
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
            case Admin(key):
                check_public_key(key)
                if self._genesis is None:
                    return False
                if author != self._genesis.fact.root_key:
                    raise RemoteError(Refusal.AUTHOR_MISMATCH, "an admin not by the root key")
                return True
            case Certificate(key):
                check_public_key(key)
                return self._may_certify(author, key)
            case _:
                raise AssertionError(f"no trust record: {fact}")

    def _may_certify(self, author: PublicKey, key: PublicKey) -> bool:
        if self._genesis is None:
            return False
        return self.is_admin(author) or (self._genesis.fact.open and author == key)

    def _keep(self, verified: Verified[Any]) -> None:
        fact = verified.fact
        if isinstance(fact, Genesis):
            self._genesis = verified
            return
        if isinstance(fact, Admin):
            if len(self._admins) >= ADMINS_MAX:
                raise RemoteError(Refusal.OVER_CAP, f"more than {ADMINS_MAX} admins")
            self._admins[fact.key] = verified
        else:
            if len(self._certificates) >= CERTIFICATES_MAX:
                raise RemoteError(Refusal.OVER_CAP, f"more than {CERTIFICATES_MAX} certificates")
            self._certificates[verified.id] = verified
            self._by_key.setdefault(fact.key, {})[verified.id] = verified
        self._keys[node_id(fact.key)] = fact.key

    def _set_aside(self, verified: Verified[Any]) -> None:
        if verified.id not in self._pending and len(self._pending) >= PENDING_MAX:
            raise RemoteError(Refusal.OVER_CAP, "too many records rest on unknown ones")
        self._pending[verified.id] = verified

    def _promote(self) -> None:
        for verified in sorted(self._pending.values(), key=_precedence):
            try:
                if not self._counts(verified):
                    continue
                self._keep(verified)
            except RemoteError:
                del self._pending[verified.id]
                continue
            del self._pending[verified.id]
            self._promoted.append(verified)

    # ---- what follows from them

    @property
    def founded(self) -> bool:
        """Whether the genesis is here."""
        return self._genesis is not None

    @property
    def genesis(self) -> Verified[Genesis]:
        """The birth of the mesh; ask `founded` first."""
        assert self._genesis is not None
        return self._genesis

    def _certificates_of(self, key: PublicKey) -> tuple[Verified[Certificate], ...]:
        return tuple(self._by_key.get(key, {}).values())

    def _admin_record(self, key: PublicKey) -> Verified[Admin] | None:
        return self._admins.get(key)

    def is_member(self, public_key: PublicKey) -> bool:
        """Whether what this key says counts; expiry plays no part."""
        return bool(self._certificates_of(public_key))

    def is_member_id(self, node: NodeId) -> bool:
        """Whether the key behind a node id is a member's."""
        key = self._keys.get(node)
        return key is not None and self.is_member(key)

    def is_admin(self, public_key: PublicKey) -> bool:
        """Whether this key may admit others."""
        return self._admin_record(public_key) is not None

    def is_admin_id(self, node: NodeId) -> bool:
        """Whether the key behind a node id is an admin's."""
        key = self._keys.get(node)
        return key is not None and self.is_admin(key)

    def public_key(self, node: NodeId) -> PublicKey | None:
        """Return the key behind the node id of an admin or member."""
        return self._keys.get(node)

    def link_allowed(self, public_key: PublicKey, wall: WallTime) -> bool:
        """Whether links with a key may be open now: it has a certificate that has not run out."""
        return any(not expired(held.fact, wall) for held in self._certificates_of(public_key))

    def admins(self) -> tuple[Verified[Admin], ...]:
        """Return all admin records, by id."""
        return tuple(sorted(self._admins.values(), key=_precedence))

    def chain(self, public_key: PublicKey) -> tuple[Verified[Any], ...]:
        """Return the records that prove a member to whoever knows the genesis; () for others.

        The admin record, then the certificate that lasts longest; the certificate alone when the
        key of an open mesh made it itself.
        """
        certificates = self._certificates_of(public_key)
        if not certificates:
            return ()
        certificate = max(certificates, key=_lasting)
        admin = self._admin_record(certificate.signed.author)
        return (certificate,) if admin is None else (admin, certificate)

    def records(self) -> tuple[Verified[Any], ...]:
        """Return every record that counts: genesis, admins, certificates, each kind by id."""
        held: list[Verified[Any]] = [*self._admins.values(), *self._certificates.values()]
        if self._genesis is not None:
            held.append(self._genesis)
        return tuple(sorted(held, key=_precedence))

    def table_sizes(self) -> tuple[tuple[str, int, int], ...]:
        """Return (name, entries, cap) of every table."""
        return (
            ("trust_admins", len(self._admins), ADMINS_MAX),
            ("trust_certificates", len(self._certificates), CERTIFICATES_MAX),
            ("trust_pending", len(self._pending), PENDING_MAX),
        )
