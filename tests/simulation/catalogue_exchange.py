"""Planted bugs in what nodes say to each other about a task: see `catalogue`."""

from mesh.core.claims.exchange import Talk
from mesh.core.claims.record import Record
from mesh.core.claims.reporting import Reporting
from tests.simulation import exchanges, planted
from tests.simulation.mutant import Mutant, Patch
from tests.simulation.planted import nothing, yes

EXCHANGE = (
    Mutant(
        "offer-for-anyone",
        "An accept counts, whoever the offer was for.",
        "M9",
        exchanges.taken_though_offered_to_another,
        (Patch(Talk, "_offer", planted.any_offer),),
    ),
    Mutant(
        "release-by-anybody",
        "Any member may release any claim.",
        "S9",
        exchanges.released_by_a_bystander,
        (Patch(Talk, "_may_release", yes),),
    ),
    Mutant(
        "own-review-counts",
        "A result may be accepted by its own author.",
        "M18",
        exchanges.reviewed_by_its_author,
        (Patch(Talk, "is_accepted", planted.accepted_by_anybody),),
    ),
    Mutant(
        "review-skipped",
        "A result completes its task although a second agent is wanted.",
        "M18",
        exchanges.reviewed_by_its_author,
        (Patch(Talk, "is_accepted", yes),),
    ),
    Mutant(
        "question-given-up",
        "Any member may say that a question is over.",
        "M11",
        exchanges.given_up_by_another,
        (Patch(Talk, "_questions", planted.given_up_by_anybody(Talk._questions)),),
    ),
    Mutant(
        "silence-unnoticed",
        "A worker may be silent for ever.",
        "M6",
        exchanges.stuck_worker,
        (Patch(Reporting, "handle_silence", nothing),),
    ),
    Mutant(
        "reports-unheard",
        "A report does not begin the time of silence anew.",
        "M6",
        exchanges.busy_worker,
        (Patch(Reporting, "_heard", planted.heard_once(Reporting._heard)),),
    ),
    Mutant(
        "checkpoint-dropped",
        "What an owner has left for the next one is not handed on.",
        "M11",
        exchanges.checkpoint_kept,
        (Patch(Record, "checkpoint", property(nothing)),),
    ),
)
