"""Which facts are on their way to disk: what this node says leaves it only from there on."""

from collections import deque

from mesh.core.effects import CommitNumber, Row
from mesh.core.gossip.vocabulary import Family
from mesh.core.identity import FactId, MeshId
from mesh.core.outbox import Outbox
from mesh.core.wire.codec import refuse
from mesh.core.wire.envelope import SignedFact, decode_signed_fact_untrusted

ROW_KIND = "fact"
NO_COMMIT = CommitNumber(0)


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

    __slots__ = ("_outbox", "_unwritten", "_waiting", "done", "last")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.last = NO_COMMIT
        """The newest commit that a fact waits for."""
        self.done = NO_COMMIT
        self._unwritten: dict[tuple[Family, FactId], None] = {}
        self._waiting: deque[tuple[CommitNumber, Family, FactId]] = deque()

    @property
    def settled(self) -> bool:
        """Whether everything held is on disk."""
        return self.last <= self.done

    def write(self, family: Family, id_: FactId, encoded: bytes) -> None:
        """Make a fact durable; `encoded` is its single form."""
        row = Row(ROW_KIND, row_key(family, id_), bytes((family,)) + encoded)
        self.last = self._outbox.commit(row)

    def write_own(self, family: Family, id_: FactId, encoded: bytes) -> None:
        """Make a fact durable that must not leave the node before it is."""
        self.write(family, id_, encoded)
        self._unwritten[family, id_] = None
        self._waiting.append((self.last, family, id_))

    def erase(self, family: Family, id_: FactId) -> None:
        """Take a fact off the disk."""
        self.last = self._outbox.commit(Row(ROW_KIND, row_key(family, id_), None))

    def may_leave(self, family: Family, id_: FactId) -> bool:
        """Whether a held fact may be sent."""
        return (family, id_) not in self._unwritten

    def handle_committed(self, number: CommitNumber) -> None:
        """Everything up to this commit is on disk."""
        self.done = max(self.done, number)
        while self._waiting and self._waiting[0][0] <= self.done:
            _, family, id_ = self._waiting.popleft()
            self._unwritten.pop((family, id_), None)
