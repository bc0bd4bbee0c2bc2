"""The root key of the mesh and the one that is promised to follow it: on this disk, or on paper."""

from dataclasses import dataclass

from mesh.core.crypto.keys import KEY_BYTES, fingerprint, make_signing_key, root_key_hash
from mesh.core.crypto.spelling import read_key, spell_key
from mesh.core.crypto.suite import SigningKey
from mesh.core.effects import Row
from mesh.core.errors import LocalError
from mesh.core.node.setup import Rows
from mesh.core.rng import Rng
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Author, author_of

ROW = "root_key"
NOW, NEXT = b"", b"next"


@dataclass(slots=True)
class RootKeys:
    """The keys that lie on this node's disk, if any."""

    author: Author
    trust: Trust
    now: SigningKey | None = None
    next: SigningKey | None = None

    def restore(self, rows: Rows) -> None:
        """Take back what is on disk."""
        kept = rows.get(ROW, {})
        self.now, self.next = _key_of(kept.get(NOW)), _key_of(kept.get(NEXT))

    def _signer(self, key: SigningKey) -> Author:
        return author_of(self.author.suite, key, self.author.verifier)

    def root(self, given: str | None = None) -> Author | None:
        """Return the root as a signer: as typed, or from disk; raises LocalError for a wrong one.

        None when it was not typed and is not here.
        """
        if given is None:
            here = None if self.now is None else self._signer(self.now)
            return here if here is not None and here.public_key == self.trust.root_key else None
        root = self._signer(SigningKey(read_key(given)))
        if root.public_key != self.trust.root_key:
            raise LocalError(
                "not_the_root",
                "this is not the root key of this mesh, or no longer",
                f"the root key now has the fingerprint {fingerprint(self.trust.root_key)}",
            )
        return root

    def successor(self, given: str | None = None) -> Author:
        """Return the promised next root as a signer; raises LocalError."""
        key = self.next if given is None else SigningKey(read_key(given))
        if key is None:
            raise LocalError(
                "root_needed",
                "the next root key is not on this node",
                "give it with --root @FILE, as `mesh root export` has printed it",
            )
        following = self._signer(key)
        if root_key_hash(following.public_key) != self.trust.ranks.next_root_hash:
            raise LocalError(
                "not_the_next_root",
                "this is not the key that the root has promised to be followed by",
                "`mesh root export` prints it as the second one",
            )
        return following

    def rotated(self, key: SigningKey, rng: Rng) -> tuple[SigningKey, tuple[Row, ...]]:
        """Have these keys from now on: the successor, and a new one after it; and their rows."""
        following = make_signing_key(rng)
        self.now, self.next = key, following
        return following, self.rows()

    def rows(self) -> tuple[Row, ...]:
        """Return what belongs on disk."""
        return (Row(ROW, NOW, self.now), Row(ROW, NEXT, self.next))

    def spelled(self) -> tuple[str, str]:
        """Return both keys for paper; raises LocalError when they are not here."""
        if self.now is None or self.next is None:
            raise LocalError(
                "root_needed",
                "the root keys are not on this node",
                "they lie where the mesh was founded, unless `mesh root lock` took them away",
            )
        return spell_key(self.now), spell_key(self.next)

    def lock(self, root: str, following: str) -> tuple[Row, ...]:
        """Take both keys off the disk, once a person has shown that they were kept."""
        if (read_key(root), read_key(following)) != (self.now, self.next):
            raise LocalError(
                "bad_root_key",
                "these are not the two keys on this node",
                "`mesh root export` prints them; type in both",
            )
        self.now = self.next = None
        return self.rows()

    def put_back(self, root: str, following: str | None) -> tuple[Row, ...]:
        """Have typed keys on disk; raises LocalError for keys of no use."""
        self.root(root)
        if following is not None:
            self.successor(following)
            self.next = SigningKey(read_key(following))
        self.now = SigningKey(read_key(root))
        return self.rows()


def _key_of(value: bytes | None) -> SigningKey | None:
    return SigningKey(value) if value is not None and len(value) == KEY_BYTES else None
