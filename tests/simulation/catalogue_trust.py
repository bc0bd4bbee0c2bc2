"""Planted bugs in who is believed and who takes part: see `catalogue`."""

import math

from mesh.core.claims import rules
from mesh.core.claims.claiming import Claiming
from mesh.core.claims.record import _Heap
from mesh.core.links import path as links_path
from mesh.core.links.path import Path
from mesh.core.links.session import ReplayWindow
from mesh.core.membership import court, intake, suspicion, verdicts
from mesh.core.node.blame import Blame
from mesh.core.node.own_key import OwnKey
from mesh.core.node.participant import Participant
from mesh.core.node.removals import Removals
from mesh.core.trust.ranks import _Reading
from mesh.core.trust.sheets import SheetExchange
from mesh.core.trust.standing import Standing
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Verifier
from tests.simulation import expulsions, lies, planted, posting
from tests.simulation.mutant import Mutant, Patch
from tests.simulation.planted import no, nothing, then, yes

NOTE_WHO_IS_HEARD, LAY_TO_ANOTHER = planted.laid_to_another()

TRUTH = (
    Mutant(
        "signature-skipped",
        "Facts are taken over without a look at their signature.",
        "S3",
        lies.forged_facts,
        (Patch(Verifier, "open_untrusted", planted.open_unchecked),),
    ),
    Mutant(
        "verifier-fooled",
        "The verifier itself lets everything pass, for whoever asks it.",
        "S3",
        lies.forged_facts,
        (Patch(Verifier, "check", nothing),),
    ),
    Mutant(
        "stranger-admitted",
        "Facts of authors without a certificate count.",
        "S2",
        lies.outsiders,
        (Patch(Participant, "check_author", nothing), Patch(Trust, "is_member", yes)),
    ),
    Mutant(
        "because-unchecked",
        "A claim may supersede another because of any fact at all.",
        "S9, M7",
        lies.robbed_without_a_reason,
        (Patch(_Heap, "_is_valid", planted.valid_unless("because")),),
    ),
    Mutant(
        "evidence-without-boot",
        "That an old boot is over ends the claims of a new one.",
        "S9, M24",
        lies.robbed_for_an_old_boot,
        (Patch(_Heap, "_is_valid", planted.valid_unless("boot")),),
    ),
    Mutant(
        "epoch-jumped",
        "A claim may skip epochs.",
        "S5",
        lies.jumped_epochs,
        (Patch(_Heap, "_is_valid", planted.valid_unless("epoch")),),
    ),
    Mutant(
        "anybody-ends",
        "Progress, attempts and results count whoever wrote them, not the claim's author alone.",
        "S6",
        lies.ended_by_another,
        (Patch(_Heap, "__post_init__", then(_Heap.__post_init__, planted.believe_everybody)),),
    ),
    Mutant(
        "rank-unchecked",
        "A claimant picks its own rank.",
        "S5",
        lies.rank_of_ones_own,
        (Patch(rules, "_check_claim", nothing),),
    ),
    Mutant(
        "replay-window-off",
        "A datagram counts as often as it is repeated.",
        "M22",
        lies.ghost,
        (Patch(ReplayWindow, "admit", yes),),
    ),
    Mutant(
        "replay-window-off-by-one",
        "The counter just behind the replay window is admitted once more.",
        "M22",
        lies.replayed_datagrams,
        (Patch(ReplayWindow, "admit", planted.off_by_one),),
    ),
    Mutant(
        "verdict-by-one",
        "One accuser is enough for a verdict.",
        "L3",
        lies.lone_accuser,
        tuple(
            Patch(module, "accusers_needed", lambda _: 1)
            for module in (suspicion, court, verdicts, intake)
        ),
    ),
)

AUTHORITY = (
    Mutant(
        "revocation-dropped",
        "A revocation is held and passed on, and takes nobody's part away.",
        "M21",
        expulsions.removed,
        (Patch(_Reading, "hear_admins", nothing),),
    ),
    Mutant(
        "lists-ignored",
        "Of a removed node everything that anybody ever hears goes on counting.",
        "M21",
        expulsions.said_too_late,
        (Patch(Trust, "counts", yes), Patch(Trust, "may_speak", yes)),
    ),
    Mutant(
        "sheets-unasked",
        "Nobody asks for the sheets on which it is written what stands of a removed node.",
        "M21",
        expulsions.removed_unequally,
        (Patch(SheetExchange, "handle_timeout", nothing),),
    ),
    Mutant(
        "sheets-unread",
        "Whatever would stand on a sheet of a removed node counts as listed there.",
        "M21",
        expulsions.removed_unequally,
        (Patch(Standing, "lists", yes),),
    ),
    Mutant(
        "removed-unjudged",
        "What is held of a removed node is never looked at again.",
        "M21",
        expulsions.removed_unequally,
        (Patch(Removals, "_judge_family", planted.judge_nothing),),
    ),
    Mutant(
        "removed-keep-claims",
        "The open claims of a removed node are not free.",
        "M21",
        expulsions.removed,
        (Patch(Removals, "ended", nothing),),
    ),
    Mutant(
        "removed-keep-links",
        "A removed node is still talked to.",
        "M21",
        expulsions.removed,
        (Patch(Removals, "_cut_off", nothing),),
    ),
    Mutant(
        "copy-untold",
        "Who hears of a greater boot of its own goes on as if nothing were.",
        "M21",
        expulsions.copied,
        (Patch(OwnKey, "tend", nothing),),
    ),
    Mutant(
        "copy-works-on",
        "A node whose key lives twice goes on taking work.",
        "M21",
        expulsions.copied,
        (Patch(Claiming, "stop", nothing),),
    ),
    Mutant(
        "backup-is-a-copy",
        "Whoever hears of a greater boot of its own raises the alarm, however young it is.",
        "M21",
        expulsions.backup_put_back,
        (Patch(OwnKey, "_is_young", no),),
    ),
    Mutant(
        "everybody-removes",
        "The word of any member takes a key back.",
        "M21",
        lies.removed_by_a_member,
        (Patch(_Reading, "_said_by", planted.said_by_anybody), Patch(Trust, "_rests", yes)),
    ),
    Mutant(
        "unproven-acted-upon",
        "A peer is where its datagrams come from, though it has not answered from there.",
        "M23",
        lies.posted_elsewhere,
        (Patch(Path, "receive", planted.moved_at_once),),
    ),
    Mutant(
        "moved-by-an-echo",
        "Any echo that is young enough proves the address it came from, and nothing else does.",
        "M23",
        posting.posted_faster,
        (
            Patch(Path, "receive", planted.moved_by_an_echo(Path.receive)),
            Patch(Path, "handle_answer", no),
        ),
    ),
    Mutant(
        "never-looked-for",
        "A peer that hears nothing any more is not looked for where it was before.",
        "M23",
        posting.posted_and_passed_on,
        (Patch(links_path, "DEAF_S", math.inf),),
    ),
    Mutant(
        "last-source-blamed",
        "A forgery is laid to whoever was heard before.",
        "M23",
        lies.one_forges_among_many,
        (
            Patch(Blame, "is_muted", NOTE_WHO_IS_HEARD),
            Patch(Blame, "strike", LAY_TO_ANOTHER),
        ),
    ),
)
