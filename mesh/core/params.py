"""Every tunable number of the core: unit in the name, legal range, default and the reason for it.

A mesh has one profile (in its genesis): nodes with different timings would accuse each other.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

PROFILES = ("local", "lan", "fast", "wan")


def tunable(default: float, low: float, high: float, why: str) -> Any:  # noqa: ANN401  a dataclass field, whatever its type
    """Declare a number with its legal range and the reason for its default."""
    return field(default=default, metadata={"low": low, "high": high, "why": why})


def check_ranges(group: object) -> None:
    """Raise ValueError naming the first number outside its legal range."""
    for spec in fields(group):  # type: ignore[arg-type]  # every caller is a dataclass below
        value = getattr(group, spec.name)
        low, high = spec.metadata["low"], spec.metadata["high"]
        if not low <= value <= high:
            raise ValueError(f"{spec.name} = {value} is outside {low}..{high}")


@dataclass(frozen=True, slots=True)
class MembershipParams:
    """Probing, voting and forgetting."""

    rings: int = tunable(4, 1, 8, "successor and predecessor on each give 8 observers")
    all_observe_max: int = tunable(
        9, 2, 18, "up to this many nodes everybody observes everybody; 9 of 17 fit into a verdict"
    )
    edge_quiet_s: float = tunable(
        3.0, 0.1, 60, "an edge this long without two-way evidence is probed"
    )
    edge_jitter: float = tunable(0.25, 0, 0.9, "spread of that time, so that probes do not align")
    edge_together: float = tunable(
        0.1, 0, 0.5, "edges due within this share of the quiet time are probed with one that is due"
    )
    few_edges_factor: float = tunable(
        0.5, 0.05, 1, "quiet time shrinks to this where edges are few: equal traffic at every N"
    )
    echo_fresh_factor: float = tunable(
        1.6, 1, 4, "an echo younger than this many quiet times is evidence"
    )
    probe_rto_low_s: float = tunable(0.05, 0.005, 5, "shortest wait for an answer")
    probe_rto_high_s: float = tunable(0.5, 0.01, 30, "longest wait for an answer")
    probe_backoff: float = tunable(1.5, 1, 4, "each try waits this much longer than the one before")
    probe_tries_low: int = tunable(3, 1, 10, "tries on a clean network")
    probe_tries_high: int = tunable(6, 1, 20, "tries when measured loss is high")
    refutation_window_s: float = tunable(
        2.0, 0.1, 60, "time in which vouchers and the subject may object"
    )
    vouch_fresh_s: float = tunable(4.0, 0.5, 60, "a voucher older than this no longer counts")
    edge_hold_s: float = tunable(
        12.0, 1, 600, "an edge that two vouchers contradict rests this long"
    )
    local_conclusion_s: float = tunable(
        10.0, 1, 600, "with nobody vouching for so long a conclusion stands locally"
    )
    accusation_resend_s: float = tunable(
        0.3, 0.05, 10, "accusations are repeated this often, then slower"
    )
    verdict_stagger_s: float = tunable(
        0.25, 0, 10, "the next accuser waits this longer for the verdict of those before it"
    )
    orphan_grace_s: float = tunable(
        15.0, 0, 86_400, "from down to dead: then claims may be taken over"
    )
    resume_grace_s: float = tunable(
        10.0, 0, 3_600, "a restarted node's agents may re-attach so long"
    )
    random_probe_s: float = tunable(
        5.0, 0.5, 600, "who is no edge and was not heard longest is probed this often"
    )
    dead_redial_s: float = tunable(
        5.0, 0.5, 600, "one random dead member may be dialled this often"
    )
    forget_dead_s: float = tunable(
        604_800.0, 60, 31_536_000, "dead members are forgotten after days"
    )
    flap_half_life_s: float = tunable(
        60.0, 1, 3_600, "a flapping member's penalty halves in this time"
    )
    flap_penalty_high: float = tunable(
        2.0, 0.1, 100, "above this penalty, 1 per flap, a member counts as flapping"
    )
    suspend_gap_s: float = tunable(2.0, 0.2, 600, "a clock gap this long means that the host slept")
    loop_lag_s: float = tunable(0.2, 0.01, 10, "own lag above this discards overlapping probes")
    cut_s: float = tunable(0.25, 0, 10, "membership events reach the application as one cut")
    leave_linger_s: float = tunable(1.0, 0, 30, "a leaving node answers this long")
    members_max: int = tunable(1024, 2, 100_000, "members kept; the newest beyond are refused")


@dataclass(frozen=True, slots=True)
class GossipParams:
    """Spreading and reconciliation of facts."""

    tick_s: float = tunable(0.1, 0.005, 10, "eager and lazy gossip leave at this pace")
    eager_peers: int = tunable(3, 1, 16, "a new item goes whole to this many peers")
    lazy_peers: int = tunable(4, 1, 16, "then its id goes to this many")
    lazy_ticks: int = tunable(3, 1, 16, "on this many ticks")
    push_all_max: int = tunable(64, 1, 1024, "up to this many peers task facts are pushed to all")
    push_resend_s: float = tunable(
        0.2, 0.002, 10, "an unacknowledged push is sent once more after this at the latest"
    )
    push_tries: int = tunable(4, 1, 16, "sends of one push; then reconciliation repairs")
    push_linger_s: float = tunable(
        2.0, 0, 60, "after the last of them a copy still counts: its bytes are being fetched"
    )
    digest_differs_s: float = tunable(2.0, 0.1, 60, "digests that differ so long are reconciled")
    sync_leaf: int = tunable(24, 4, 64, "ranges of at most this many facts are listed by id")
    sync_rate_bytes_s: float = tunable(2_000_000, 1_000, 1e9, "reconciliation sent to one peer")
    sync_open_max: int = tunable(4, 1, 64, "reconciliations under way at once")
    sync_idle_s: float = tunable(
        1.0, 0.05, 60, "a reconciliation that is silent so long is over; loss may have ended it"
    )
    sync_queue_max: int = tunable(65_536, 64, 10_000_000, "facts waiting to be sent to one peer")
    queue_items_max: int = tunable(4096, 16, 1_000_000, "items waiting to be spread")
    spread_bytes_s: float = tunable(8_000, 500, 1e9, "gossip sustained")
    spread_burst_bytes: float = tunable(128_000, 2_000, 1e9, "gossip in one burst")
    seen_max: int = tunable(16_384, 64, 1_000_000, "ids remembered of facts that were not kept")
    author_facts_s: float = tunable(
        4.0, 0.1, 10_000, "membership facts taken from one author per second, sustained"
    )
    author_facts_burst: float = tunable(
        128.0, 4, 100_000, "and at once: a node that observes a lost rack says so about each"
    )
    parked_max: int = tunable(
        256, 1, 65_536, "facts kept until their author's certificate has arrived"
    )


@dataclass(frozen=True, slots=True)
class ClaimParams:
    """Settling, staggering, sessions and retries."""

    settle_first_s: float = tunable(0.05, 0, 10, "settle window before anything was measured")
    settle_floor_s: float = tunable(0.02, 0, 10, "shortest settle window")
    settle_ceiling_s: float = tunable(2.0, 0.01, 60, "longest settle window")
    settle_samples: int = tunable(256, 8, 4096, "pushes over which the p99 is taken")
    stagger_s: float = tunable(0.06, 0, 10, "the last claimant in the order waits this long")
    sync_rest_s: float = tunable(
        0.5, 0, 60, "a task of which facts came by reconciliation rests so long after the last"
    )
    advertise_s: float = tunable(
        5.0, 0, 600, "the kinds a node waits for change at most this often"
    )
    agent_grace_s: float = tunable(
        10.0, 0, 3_600, "an agent that lost its socket may come back so long"
    )
    resume_grace_s: float = tunable(
        10.0, 0, 3_600, "agents of a restarted node may come back so long"
    )
    copies_wait_s: float = tunable(0.5, 0.01, 60, "then a write is acknowledged with fewer copies")
    blob_copies_wait_s: float = tunable(
        2.0, 0.01, 60, "the same for one that names a blob, which keepers fetch: a few round trips"
    )
    copies_keepers: int = tunable(
        2, 1, 16, "nodes that fetch at once what a fact names: two copies though one of them fails"
    )
    request_keep_s: float = tunable(86_400.0, 60, 31_536_000, "request ids are remembered so long")
    backoff_high_s: float = tunable(300.0, 1, 86_400, "longest wait between attempts")
    priority_step_s: float = tunable(
        60.0, 0.1, 86_400, "one step of priority is worth so much waiting: nothing starves"
    )
    bid_window_s: float = tunable(
        1.0, 0.01, 3_600, "bids are awaited so long, unless the task says otherwise"
    )
    offer_s: float = tunable(
        2.0, 0.01, 3_600, "an offered task is one node's so long, unless the task says otherwise"
    )
    payload_bytes_max: int = tunable(700, 16, 1000, "inline payloads and outputs")
    left_bytes_max: int = tunable(
        65_536, 1024, 65_536, "a hand-over's context or a checkpoint that is kept as a blob"
    )
    facts_per_author_max: int = tunable(
        100_000, 100, 10_000_000, "facts kept of one author, 1.6 KB each: 22,500 tasks done alone"
    )
    held_back_max: int = tunable(
        64, 1, 4096, "facts of one author waiting for the spec or claim that they are about"
    )
    task_facts_per_author_max: int = tunable(
        512, 8, 100_000, "facts of one author about one task: some hundred claims with their ends"
    )
    claims_per_epoch_max: int = tunable(
        16, 1, 64, "claims of one author in one epoch; more than one are bids of several agents"
    )
    retention_s: float = tunable(
        86_400.0, 1, 315_360_000, "a finished task is kept so long, unless there are too many"
    )
    retention_calm_s: float = tunable(
        600.0, 0, 86_400, "after a start the wall clock may still be set: ages wait for it"
    )
    finished_max: int = tunable(
        10_000, 1, 10_000_000, "finished tasks kept; the oldest beyond are forgotten early"
    )
    forget_settle_s: float = tunable(
        5.0, 0, 3_600, "a finished task is known everywhere before it is forgotten: two repairs"
    )
    forget_every_s: float = tunable(
        2.0, 0.05, 3_600, "finished tasks are looked through this often: one fact forgets many"
    )
    forget_boots_s: float = tunable(
        60.0, 0, 86_400, "after a start, own tasks that a disk lost have come back from peers"
    )
    key_keep_s: float = tunable(
        604_800.0,
        1,
        604_800,
        "a forgotten dedupe key is known so long after its window: who was away comes back",
    )
    forgotten_keys_max: int = tunable(
        20_000, 1, 10_000_000, "forgotten dedupe keys of one author; beyond, finished tasks stay"
    )
    set_aside_max: int = tunable(
        1000, 1, 100_000, "tasks kept aside that their creator forgot and that look open here"
    )
    tasks_max: int = tunable(100_000, 16, 10_000_000, "tasks kept")
    waiters_max: int = tunable(4096, 16, 1_000_000, "claims and waits under way at once")
    requests_max: int = tunable(20_000, 16, 1_000_000, "answers remembered; the oldest go first")
    handles_max: int = tunable(16_384, 4, 1_000_000, "claims held by agents of this node")
    sightings_max: int = tunable(
        10_000, 0, 1_000_000, "facts whose first sight is remembered, for the history"
    )


@dataclass(frozen=True, slots=True)
class LinkParams:
    """Datagrams, streams and strangers."""

    replay_window: int = tunable(
        2048, 64, 65_536, "counters below the greatest that may still arrive"
    )
    hello_interval_s: float = tunable(1.0, 0.05, 60, "a silent peer is greeted at most this often")
    hello_per_source_s: float = tunable(20.0, 1, 1000, "hellos answered per source and second")
    hello_total_s: float = tunable(
        200.0, 1, 100_000, "hellos heard per second of all sources; beyond them a cookie is asked"
    )
    sources_max: int = tunable(1024, 16, 65_536, "sources with a bucket of their own")
    streams_max: int = tunable(64, 2, 4096, "streams of members open at once")
    stream_spare_s: float = tunable(
        2.0, 0.1, 600, "one without a byte for so long makes room when there are too many"
    )
    stream_idle_s: float = tunable(20.0, 1, 600, "a stream without a byte for so long is closed")
    strikes_max: int = tunable(3, 1, 100, "invalid signatures forwarded before a peer is muted")
    mute_s: float = tunable(600.0, 1, 86_400, "a muted peer stays muted so long")
    checks_per_turn: int = tunable(
        24, 1, 100_000, "signatures checked in one go, 2 ms: probes pass before the next go"
    )
    waiting_bytes_max: int = tunable(
        1_048_576,
        131_072,
        1_000_000_000,
        "messages of one peer that wait for checks: half a second of its reconciliation",
    )
    relay_bytes_s: float = tunable(64_000, 1_000, 1e9, "relayed for others, of them all")
    relay_share: float = tunable(0.5, 0.01, 1, "of that, as much for one peer alone")
    seed_retry_s: float = tunable(2.0, 0.1, 600, "seeds are tried again after this, then slower")
    seed_retry_high_s: float = tunable(8.0, 0.1, 3_600, "longest wait between tries")


@dataclass(frozen=True, slots=True)
class BlobParams:
    """What is too large for a fact."""

    blob_bytes_max: int = tunable(
        67_108_864, 1024, 67_108_864, "64 MiB: larger things belong where agents can fetch them"
    )
    quota_bytes: int = tunable(
        2_147_483_648, 1024, 1e15, "all blobs of a node together, those on their way included"
    )
    blobs_max: int = tunable(
        100_000, 1, 10_000_000, "blobs of a node, parts included: small ones do not fill the quota"
    )
    window_parts: int = tunable(
        8, 1, 64, "parts of 56 KiB asked for at a time: gossip gets its turn between them"
    )
    fetches_max: int = tunable(4, 1, 64, "blobs on their way here at once; others wait")
    patience_s: float = tunable(
        2.0, 0.05, 60, "a peer that sends nothing for so long is passed over"
    )
    retry_s: float = tunable(5.0, 0.1, 600, "when nobody has a blob, all are asked again then")
    unused_keep_s: float = tunable(
        3_600.0, 1, 31_536_000, "a blob that no task names is kept so long"
    )


@dataclass(frozen=True, slots=True)
class Params:
    """All of them, for one profile."""

    profile: str = "lan"
    membership: MembershipParams = MembershipParams()
    gossip: GossipParams = GossipParams()
    claims: ClaimParams = ClaimParams()
    links: LinkParams = LinkParams()
    blobs: BlobParams = BlobParams()

    def check(self) -> None:
        """Raise ValueError when a number is out of range or two do not fit together."""
        if self.profile not in PROFILES:
            raise ValueError(f"profile {self.profile!r} is none of {', '.join(PROFILES)}")
        for group in (self.membership, self.gossip, self.claims, self.links, self.blobs):
            check_ranges(group)
        member = self.membership
        if member.probe_rto_high_s > member.edge_quiet_s:
            raise ValueError("probe_rto_high_s must not exceed edge_quiet_s")
        if self.claims.settle_floor_s > self.claims.settle_ceiling_s:
            raise ValueError("settle_floor_s must not exceed settle_ceiling_s")


def params_for(profile: str) -> Params:
    """Return the numbers of a profile; raises ValueError for an unknown one."""
    quiet_and_window = {
        "local": (1.0, 0.5),
        "lan": (3.0, 2.0),
        "fast": (1.0, 0.5),
        "wan": (5.0, 5.0),
    }
    if profile not in quiet_and_window:
        raise ValueError(f"profile {profile!r} is none of {', '.join(PROFILES)}")
    quiet, window = quiet_and_window[profile]
    base = Params(profile=profile)
    member = replace(base.membership, edge_quiet_s=quiet, refutation_window_s=window)
    if profile == "wan":
        member = replace(member, probe_rto_high_s=2.0)
    if profile == "local":
        member = replace(member, orphan_grace_s=5.0, resume_grace_s=5.0, local_conclusion_s=4.0)
    return replace(base, membership=member)
