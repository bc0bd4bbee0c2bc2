"""Planted bugs in who is thought to be here: see `catalogue`."""

from mesh.core.gossip.gossip import Gossip
from mesh.core.membership.healing import Healing
from mesh.core.membership.membership import Membership
from mesh.core.membership.own_record import OwnRecord
from mesh.core.membership.suspicion import Suspicion
from tests.simulation import hunts, planted
from tests.simulation.mutant import Mutant, Patch
from tests.simulation.planted import nothing

PRESENCE = (
    Mutant(
        "refuted-without-raising",
        "An accusation is answered with the same incarnation.",
        "L3, S7",
        hunts.frozen,
        (Patch(OwnRecord, "announce", planted.same_incarnation),),
    ),
    Mutant(
        "refutation-window-off",
        "A verdict is passed as soon as enough accuse.",
        "L3",
        hunts.hiccup,
        (Patch(Suspicion, "outcome", planted.without_window(Suspicion.outcome)),),
    ),
    Mutant(
        "vouchers-ignored",
        "Nobody's word that it reaches the accused is heard.",
        "L3, M22",
        hunts.broken_edge,
        (Patch(Suspicion, "add_voucher", nothing),),
    ),
    Mutant(
        "hearing-is-enough",
        "Whatever arrives counts as two-way evidence.",
        "M22",
        hunts.deaf,
        (
            Patch(
                Membership,
                "handle_evidence",
                planted.hearing_is_enough(Membership.handle_evidence),
            ),
        ),
    ),
    Mutant(
        "digests-ignored",
        "That a peer's digest differs is not followed up.",
        "L1",
        hunts.black_hole,
        (Patch(Gossip, "handle_digests", nothing),),
    ),
    Mutant(
        "nobody-redials",
        "Those who are down are never dialled again.",
        "L1, L3",
        hunts.long_partition,
        (Patch(Healing, "redial", nothing),),
    ),
)
