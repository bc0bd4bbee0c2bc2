"""Keys that live twice: each says so itself, and everybody keeps the newest word of it.

A copied disk or a cloned machine makes two nodes of one key, and each start of either has a boot
above all that it knows. So the one that is outdone while it runs knows that it was copied: nobody
else could have signed the greater boot. It says so in a signed fact that names both boots, which
also reaches the other one. A newer boot than both ends the matter: one was started anew.
"""

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot, FactId, NodeId
from mesh.core.membership.facts import Twin
from mesh.core.membership.ground import Ground
from mesh.core.wire.envelope import Verified


def newest_boot(twin: Verified[Twin]) -> Boot:
    """Return the greater of both boots."""
    return max(twin.fact.boot, twin.fact.rival)


def _weight(twin: Verified[Twin]) -> tuple[Boot, FactId]:
    return newest_boot(twin), twin.id


class Twins:
    """What keys have said of living twice: one word per key."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._held: dict[NodeId, Verified[Twin]] = {}

    def get(self, node: NodeId) -> Verified[Twin] | None:
        """Return what a key has said of living twice; None while it has not."""
        return self._held.get(node)

    def accept(self, verified: Verified[Twin], boot: Boot | None) -> bool:
        """Whether to keep a word; `boot` is the newest one known of its author."""
        held = self._held.get(verified.author)
        if verified.fact.boot == verified.fact.rival:
            raise RemoteError(Refusal.BROKEN_RULE, "a key that lives twice in one boot")
        if boot is not None and newest_boot(verified) < boot:
            return False
        if held is not None and _weight(verified) <= _weight(held):
            return False
        if held is None and len(self._held) >= self._ground.params.members_max:
            raise RemoteError(Refusal.OVER_CAP, "too many keys that live twice")
        self._ground.drop(held)
        self._held[verified.author] = verified
        return True

    def outlive(self, node: NodeId, boot: Boot) -> None:
        """A key runs in this boot: a word about former ones is over."""
        held = self._held.get(node)
        if held is not None and newest_boot(held) < boot:
            del self._held[node]
            self._ground.drop(held)

    def forget(self, node: NodeId) -> None:
        """Nothing of this key is kept."""
        self._ground.drop(self._held.pop(node, None))
