"""What a node must have to do a task: tags in its signed presence, checked by everybody.

A claim on a task that requires tags cites the presence in which its author says that it has them.
So whoever merges the claim checks it with what is held, and a node that pretends can be shown to
have lied.
"""

from collections.abc import Sequence

from mesh.core.claims.facts import Capability, Claim, Evidence, Spec
from mesh.core.wire.envelope import Verified

PRESENCE_KIND = "restarted"
"""The kind of evidence that is made of a presence: it ends the boots before its own."""


def meets(tags: Sequence[Capability], wanted: Sequence[Capability]) -> bool:
    """Whether tags include all that are wanted; one wanted without a value may have any."""
    return score(tags, wanted) == len(wanted)


def score(tags: Sequence[Capability], wanted: Sequence[Capability]) -> int:
    """Return how many of the wanted tags there are."""
    held = dict(tags)
    return sum(tag in held and value in ("", held[tag]) for tag, value in wanted)


def is_proven(claim: Verified[Claim], spec: Spec, presence: Evidence | None) -> bool:
    """Whether a claim shows that its author, in this boot, has what the spec requires."""
    if not spec.requires:
        return True
    return (
        presence is not None
        and presence.kind == PRESENCE_KIND
        and presence.subject == claim.author
        and presence.ended_boot + 1 == claim.fact.boot
        and meets(presence.tags, spec.requires)
    )
