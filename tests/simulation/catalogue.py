"""The catalogue of planted bugs: what each does, which rule it breaks, who is sent to catch it.

Product code has no switches for them: a mutant swaps functions of its modules and puts them back.
"""

from collections.abc import Callable

from mesh.core.claims import openings, record, rules
from mesh.core.claims.auction import Auctions
from mesh.core.claims.claiming import Claiming
from mesh.core.claims.desk import Desk
from mesh.core.claims.ending import Ending
from mesh.core.claims.ledger import Ledger
from mesh.core.claims.openings import Openings
from mesh.core.claims.record import ClaimView, _Heap
from mesh.core.claims.requests import Requests
from mesh.core.claims.returning import Returning
from mesh.core.claims.running import Running
from mesh.core.claims.sessions import Sessions
from mesh.core.claims.settle import Settle
from mesh.core.claims.table import Table
from mesh.core.claims.writing import Writing
from mesh.core.gossip.gossip import Gossip
from mesh.core.gossip.push import Acknowledger
from mesh.core.membership.member import Member
from mesh.core.node import node
from mesh.core.node.commits import Commits
from mesh.core.node.node import Node
from mesh.core.node.participant import Participant
from mesh.core.outbox import Outbox
from tests.simulation import copying, hunts, hunts_schedule, planted
from tests.simulation.catalogue_exchange import EXCHANGE
from tests.simulation.catalogue_presence import PRESENCE
from tests.simulation.catalogue_trust import AUTHORITY, TRUTH
from tests.simulation.keeping import KEEPING
from tests.simulation.mutant import Mutant, Patch
from tests.simulation.planted import no, nothing, then, yes


def rank_instead(rank: Callable[..., int]) -> tuple[Patch, ...]:
    """Return what makes a node draw its rank otherwise, and others accept that."""
    watched = then(Claiming._publish_claim, planted.OwnRank.watch, before=True)
    return (
        Patch(openings, "claim_rank", rank),
        Patch(Claiming, "_publish_claim", watched),
        Patch(rules, "_check_claim", nothing),
    )


OWNERSHIP = (
    Mutant(
        "rank-by-wall-clock",
        "Who claims later by its wall clock outranks the others.",
        "S5",
        hunts.two_owners_meet,
        rank_instead(planted.OwnRank.by_clock),
    ),
    Mutant(
        "rank-by-work",
        "Who holds more claims outranks the others.",
        "S5",
        hunts.two_owners_meet,
        rank_instead(planted.OwnRank.by_work),
    ),
    Mutant(
        "first-come-first",
        "Of two claims of one epoch the one that arrived here first owns the task.",
        "S4, L1",
        hunts.two_owners_meet,
        (Patch(_Heap, "__post_init__", then(_Heap.__post_init__, planted.first_come_first)),),
    ),
    Mutant(
        "settle-ignored",
        "A claim may start as soon as it has left the node.",
        "S9, M3",
        hunts.race,
        (Patch(Settle, "may_start", lambda settle, *_: settle.handed_over is not None),),
    ),
    Mutant(
        "receipt-for-beaten",
        "Who knows of a greater claim acknowledges the lesser one all the same.",
        "S9, M3",
        hunts.race_on_slow_disks,
        (Patch(Gossip, "_objects", no),),
    ),
    Mutant(
        "objections-unheard",
        "That a greater claim waits for a disk is taken for silence.",
        "S9, M3",
        hunts.race_beside_a_standing_disk,
        (Patch(Claiming, "handle_objected", nothing),),
    ),
    Mutant(
        "nonce-dropped",
        "Claims carry no nonce.",
        "S5",
        hunts.token_shown_twice,
        (Patch(openings, "Claim", planted.without_nonce),),
    ),
    Mutant(
        "greater-for-greater-or-equal",
        "A verdict ends the boots before the one it names (> for >=).",
        "L2",
        hunts.orphan,
        (Patch(_Heap, "_is_valid", planted.valid_unless("equal boot")),),
    ),
    Mutant(
        "evidence-kept-back",
        "The reason for a takeover is not published with the claim.",
        "S4",
        hunts.orphan,
        (Patch(Ledger, "publish", planted.keep_evidence_back(Ledger.publish)),),
    ),
    Mutant(
        "grace-skipped",
        "Claims of a node that went down are taken over without a grace.",
        "S9, M7",
        hunts.orphan,
        (Patch(openings, "free_at", planted.free_at_once),),
    ),
    Mutant(
        "rescue-by-the-owner",
        "A node gives a claim up after a minute although its agent is attached and at work.",
        "S9, M7",
        hunts.long_work,
        (
            Patch(Claiming, "check_settled", then(Claiming.check_settled, planted.give_up_later)),
            Patch(Returning, "handle_grace_over", planted.give_up_now),
        ),
    ),
    Mutant(
        "rescue-by-another",
        "A task that takes longer than a minute is claimed by somebody else.",
        "S9, M7",
        hunts.long_work,
        (
            Patch(
                Openings,
                "_opening_but_for_slots",
                planted.rescue_the_slow(Openings._opening_but_for_slots),
            ),
            Patch(_Heap, "_is_valid", planted.valid_unless("because")),
        ),
    ),
    Mutant(
        "session-of-the-first-boot",
        "A claim that was taken up again after a restart counts as one of the old boot.",
        "S9, M24",
        hunts.owner_restarts,
        (Patch(openings, "session_boot", planted.boot_of_the_claim),),
    ),
    Mutant(
        "session-without-boot",
        "That a node runs under a new boot says nothing about its old claims.",
        "L2",
        hunts.owner_restarts_and_dies,
        (Patch(Member, "ended", planted.only_the_present_boot(Member.ended)),),
    ),
    Mutant(
        "handles-forgotten",
        "Agents of a node that restarted cannot take their claims up again.",
        "M24",
        hunts.owner_restarts,
        (Patch(Returning, "restore", nothing),),
    ),
    Mutant(
        "goodbye-unheard",
        "The claims of a node that left rest as if it had failed.",
        "M7",
        hunts.goodbye,
        (Patch(openings, "free_at", planted.always_a_grace),),
    ),
    Mutant(
        "suspend-unnoticed",
        "A node that slept lets its agents go on at once.",
        "S9, M16",
        hunts.lid_closed,
        (Patch(Desk, "handle_suspend", nothing),),
    ),
    Mutant(
        "least-result-wins",
        "Of two results the one of the lesser token counts.",
        "S6",
        hunts.two_results_meet,
        (Patch(_Heap, "results", planted.least_last(_Heap.results)),),
    ),
    Mutant(
        "new-result-unsaid",
        "Nobody hears that a result was superseded.",
        "S6",
        hunts.two_results_meet,
        (Patch(Outbox, "notify", planted.tongue_tied(Outbox.notify, "task.result_superseded")),),
    ),
    Mutant(
        "loser-untold",
        "An agent that lost its claim is not told to stop.",
        "L4",
        hunts.two_owners_go_on,
        (Patch(Outbox, "notify", planted.tongue_tied(Outbox.notify, "task.lost")),),
    ),
    Mutant(
        "cancel-undoes-done",
        "A cancel that meets a completion wins.",
        "S6",
        hunts.canceled_and_completed,
        (Patch(record, "_state", planted.canceled_first(record._state)),),
    ),
    Mutant(
        "late-finish",
        "A completion is acknowledged although a greater one is known.",
        "S6",
        hunts.late_completion,
        (Patch(Writing, "_is_late", planted.late_is_fine),),
    ),
)

PROMISES = (
    Mutant(
        "answered-before-commit",
        "Writes are acknowledged when they are handed to the disk.",
        "S1",
        hunts.power_cut_alone,
        (Patch(Desk, "_finish", then(Desk._finish, planted.answer_at_once)),),
    ),
    Mutant(
        "leaves-before-commit",
        "Facts leave the node before they are on its disk.",
        "S1",
        hunts.unsaid,
        (Patch(Node, "_finish", planted.let_go_at_once(Node._finish)),),
    ),
    Mutant(
        "durable-before-commit",
        "A peer acknowledges a copy before it is on its disk.",
        "S1",
        hunts.power_cut_of_copies,
        (Patch(Acknowledger, "owe", planted.durable_at_once(Acknowledger.owe)),),
    ),
    Mutant(
        "copy-without-base",
        "A peer counts as a copy of a completion though it has not even the claim.",
        "S6",
        hunts.copy_of_the_end_alone,
        (Patch(Participant, "is_backed", yes),),
    ),
    Mutant(
        "copy-without-bytes",
        "A peer counts as a copy of a task though it has not the bytes that the task names.",
        "S1, S6",
        copying.copies_without_bytes,
        (Patch(Participant, "lacking", lambda *_: {}),),
    ),
    Mutant(
        "failed-commit-forgotten",
        "Rows that the disk refused are not written again.",
        "S1",
        hunts.failed_commit,
        (Patch(Commits, "handle_failed", planted.forget_failed),),
    ),
    Mutant(
        "requests-forgotten",
        "Request ids do not survive a restart.",
        "S1, M9",
        hunts.asked_again,
        (Patch(Requests, "restore", nothing),),
    ),
    Mutant(
        "boot-not-raised",
        "Each start of a node counts as its first.",
        "S7",
        hunts.node_restarts,
        (Patch(node, "mint_boot", planted.first_boot_again),),
    ),
    Mutant(
        "attempts-not-counted",
        "No claim costs an attempt.",
        "S9",
        hunts.always_failing,
        (Patch(ClaimView, "used", property(no)),),
    ),
    Mutant(
        "attempts-off-by-one",
        "A task may be tried once more than it allows (<= for <).",
        "S9",
        hunts.always_failing,
        (Patch(_Heap, "__post_init__", then(_Heap.__post_init__, planted.one_attempt_more)),),
    ),
    Mutant(
        "back-off-ignored",
        "A failed task is tried again at once.",
        "M12",
        hunts.always_failing,
        (Patch(openings, "retry_delay_s", lambda *_: 0.0),),
    ),
    Mutant(
        "capacity-ignored",
        "An agent gets as many tasks as it asks for.",
        "M10",
        hunts.greedy_agent,
        (Patch(Sessions, "has_capacity", yes),),
    ),
    Mutant(
        "capacity-counted-late",
        "Claims that still settle do not count against an agent's capacity.",
        "M10",
        hunts.greedy_agent,
        (Patch(Sessions, "has_capacity", planted.capacity_when_settled),),
    ),
    Mutant(
        "any-handle-will-do",
        "A write with an unknown handle goes to some other claim.",
        "S6",
        hunts.unknown_handle,
        (Patch(Sessions, "find", planted.any_holding),),
    ),
    Mutant(
        "cap-ignored",
        "The table takes any number of tasks.",
        "S8",
        hunts.full_table,
        (Patch(Table, "_add", planted.without_cap(Table._add)),),
    ),
)

SCHEDULE = (
    Mutant(
        "parents-ignored",
        "A task may be claimed before its parents are done.",
        "M27",
        hunts_schedule.parent_and_child,
        (Patch(openings, "blocking", lambda *_: []),),
    ),
    Mutant(
        "orphans-of-failure-kept",
        "Nobody cancels a task that is late or without hope.",
        "M27",
        hunts_schedule.late_without_its_submitter,
        (Patch(Ending, "evaluate", nothing),),
    ),
    Mutant(
        "submitter-only",
        "Only the submitter's node ends what is late.",
        "M27",
        hunts_schedule.late_without_its_submitter,
        (Patch(Ending, "_turn", planted.never),),
    ),
    Mutant(
        "slots-not-given-back",
        "Who meets another on its slot goes on.",
        "M27",
        hunts_schedule.rush_for_slots,
        (Patch(Claiming, "check_slots", nothing),),
    ),
    Mutant(
        "bid-window-ignored",
        "A bid starts as soon as everybody knows of it.",
        "M13",
        hunts_schedule.bids_one_after_another,
        (Patch(Auctions, "hold_s", lambda *_: 0.0),),
    ),
    Mutant(
        "score-ignored",
        "A bid carries no score.",
        "M13",
        hunts_schedule.bids_one_after_another,
        (Patch(openings, "bid_rank", lambda _, lot: lot),),
        seed=1,
    ),
    Mutant(
        "run-limit-forgotten",
        "No attempt is ever too long.",
        "M6",
        hunts_schedule.too_long,
        (Patch(Running, "evaluate", nothing),),
    ),
)

MUTANTS = TRUTH + OWNERSHIP + PROMISES + PRESENCE + AUTHORITY + SCHEDULE + EXCHANGE + KEEPING
HUNTS = tuple(dict.fromkeys(mutant.hunt for mutant in MUTANTS))
