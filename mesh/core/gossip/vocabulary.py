"""What gossip and its users talk about: families of facts, wanted answers, the receiving side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NewType, Protocol

from mesh.core.identity import BlobId, FactId, NodeId, PublicKey
from mesh.core.instants import Now
from mesh.core.outbox import Outbox
from mesh.core.params import GossipParams
from mesh.core.rng import Rng
from mesh.core.wire.envelope import Author, Contexts, Verified, Verifier


class Family(IntEnum):
    """A set of facts that is spread, compared and repaired on its own."""

    MEMBERS = 0
    """Facts of trust and membership."""
    TASKS = 1
    """Facts about tasks, and the membership facts that claims cite as evidence."""


FAMILIES = tuple(Family)
"""By number; a look here costs less than a call of the enum."""


class Want(IntEnum):
    """What the receivers of a push shall answer."""

    NOTHING = 0
    RECEIPT = 1
    """An acknowledgement at once."""
    DURABLE = 2
    """An acknowledgement once the receiver's commit is done."""


WANTS = tuple(Want)

PushNumber = NewType("PushNumber", int)
"""One `publish` of this node; rises, and starts anywhere."""


class Doubt(IntEnum):
    """What the receiver of a push thinks of a fact that wants a receipt."""

    NONE = 0
    UNPROVEN = 1
    """What it cites has not arrived: it does not count here yet."""
    BEATEN = 2
    """Something greater is known here, on disk or not."""


class Receiver(Protocol):
    """Who judges the facts that come in: the node, which knows every family's rules."""

    def contexts(self, family: Family) -> Contexts:
        """Return the fact types that may stand in a family."""
        ...

    def check_author(self, key: PublicKey) -> None:
        """Raise RemoteError(NOT_ADMITTED) for a stranger: cheap, before any verification."""
        ...

    def accept(self, now: Now, family: Family, verified: Verified[Any], relay: NodeId) -> bool:
        """Whether to keep and spread a fact; raises RemoteError when it breaks a rule."""
        ...

    def doubt(self, now: Now, verified: Verified[Any], peer: NodeId) -> Doubt:
        """Return what speaks against a pushed fact; who pushed a beaten one is told by what.

        A receipt for it is withheld: to acknowledge is to say "it counts here, and I know of
        nothing greater".
        """
        ...

    def is_backed(self, verified: Verified[Any]) -> bool:
        """Whether a pushed fact counts here from what is held alone.

        If not, a durable receipt for it is withheld: a copy that means nothing by itself is none.
        """
        ...

    def missing_ids(self, verified: Verified[Any]) -> Sequence[FactId]:
        """Return the facts of the same family that one that is not backed lacks, nearest first."""
        ...

    def lacking(self, verified: Verified[Any]) -> Mapping[BlobId, bool]:
        """Return the bytes that a pushed fact names and that are not here; are they coming?

        A durable receipt for it is withheld until they are here, and on disk as well.
        """
        ...

    def keepers(self, verified: Verified[Any]) -> Sequence[NodeId]:
        """Return who fetches at once the bytes that a fact of this node names, if it names any."""
        ...

    def followed_by(self, verified: Verified[Any]) -> Sequence[FactId]:
        """Return what has come of a pushed fact since, for those who hear of it late."""
        ...

    def handle_acknowledged(self, now: Now, push: PushNumber, peer: NodeId, durable: bool) -> None:
        """A peer has everything of one push; not `durable` where that is wanted: but no copy."""
        ...

    def handle_objected(self, now: Now, push: PushNumber, peer: NodeId) -> None:
        """A peer knows of something greater than what one push says."""
        ...


@dataclass(slots=True)
class GossipParts:
    """What a `Gossip` is made of."""

    author: Author
    verifier: Verifier
    receiver: Receiver
    params: GossipParams
    rng: Rng
    outbox: Outbox
