"""Which facts are on their way to disk: what this node says leaves it only from there on."""

from collections import deque

from mesh.core.effects import CommitNumber, Row
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import FactId, MeshId
from mesh.core.outbox import Outbox
from mesh.core.wire.codec import refuse
from mesh.core.wire.envelope import Author, SignedFact, decode_signed_fact_untrusted

ROW_KIND = "fact"
NO_COMMIT = CommitNumber(0)
DRAFTS_SIGNED_MAX = 16
"""Facts that share a signature under load: each carries a path of four hashes, 136 bytes."""


def row_key(family: Family, id_: FactId) -> bytes:
    """Return the key of a fact's row; a fact that stands in both families has two."""
    return id_ if family is Family.MEMBERS else id_ + bytes((family,))


def decode_row_untrusted(value: bytes, mesh: MeshId) -> tuple[Family, SignedFact]:
    """Return what a row of kind `fact` holds, not yet verified; raises RemoteError."""
    if not value or value[0] > Family.TASKS:
        raise refuse("no such family")
    return Family(value[0]), decode_signed_fact_untrusted(value[1:], mesh)


class Journal:
    """Writes facts to the durable log and knows how far the log has come."""

    __slots__ = ("_drafts", "_outbox", "_unwritten", "_waiting", "done", "last")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.last = NO_COMMIT
        """The newest commit that a fact waits for."""
        self.done = NO_COMMIT
        self._unwritten: dict[tuple[Family, FactId], None] = {}
        self._waiting: deque[tuple[CommitNumber, Family, FactId]] = deque()
        self._drafts: list[tuple[Family, SignedFact]] = []

    @property
    def settled(self) -> bool:
        """Whether everything held is on disk."""
        return self.last <= self.done

    @property
    def has_drafts(self) -> bool:
        """Whether something waits to be signed."""
        return bool(self._drafts)

    def write(self, family: Family, id_: FactId, encoded: bytes) -> None:
        """Make a fact durable soon; `encoded` is its single form."""
        row = Row(ROW_KIND, row_key(family, id_), bytes((family,)) + encoded)
        self.last = self._outbox.keep(row)

    def hurry(self) -> None:
        """Somebody waits until all that is held is on disk."""
        if self.last == self._outbox.next_commit:
            self._outbox.commit()

    def write_own(self, family: Family, signed: SignedFact) -> None:
        """Make a fact durable that must not leave before it is; a draft is signed later."""
        if signed.signature:
            self.write(family, signed.id, signed.encode())
            self.hurry()
        else:
            self.last = self._outbox.promise()
            self._drafts.append((family, signed))
        self._unwritten[family, signed.id] = None
        self._waiting.append((self.last, family, signed.id))

    def sign_drafts(self, author: Author) -> None:
        """Sign what was drafted since the last commit, and put it into the next one."""
        drafts, self._drafts = self._drafts, []
        self._outbox.promised = 0
        author.sign_drafts([signed for _, signed in drafts], DRAFTS_SIGNED_MAX)
        for family, signed in drafts:
            self.write(family, signed.id, signed.encode())

    def erase(self, family: Family, id_: FactId) -> None:
        """Take a fact off the disk."""
        self.last = self._outbox.keep(Row(ROW_KIND, row_key(family, id_), None))

    def may_leave(self, family: Family, id_: FactId) -> bool:
        """Whether a held fact may be sent."""
        return (family, id_) not in self._unwritten

    def handle_committed(self, number: CommitNumber) -> None:
        """Everything up to this commit is on disk."""
        self.done = max(self.done, number)
        while self._waiting and self._waiting[0][0] <= self.done:
            _, family, id_ = self._waiting.popleft()
            self._unwritten.pop((family, id_), None)
