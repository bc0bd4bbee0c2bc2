"""A fifth of the members lie together: floor(N / 5) of them, drawn at random under a seed.

`python -m tests.simulation.liars [--hours H] [--nodes N] [--seed S] [--profile wan]` lets them lie
for that many simulated hours while the others work, and says how often they did what. No honest
node may be believed to have failed, no fact may be held that its author has not signed, no claim
may be taken from an honest owner, and every table stays within its bound. `--stuff` has them fill
tables and do nothing else. `--out FILE` adds a line for each seed, and goes on after those that are
there; what was found is a line too, and makes the exit code 1.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mesh.core.claims.facts import Spec
from mesh.core.claims.garbage import UNPROVEN_MAX
from mesh.core.claims.record import ClaimView, Record
from mesh.core.commands import TaskSubmit
from mesh.core.errors import RemoteError
from mesh.core.gossip.gossip import Family
from mesh.core.identity import Boot, FactId, Incarnation, NodeId, dot_task_id, task_text
from mesh.core.membership.facts import Accusation, Twin, Verdict
from mesh.core.membership.messages import Accuse
from mesh.core.membership.suspicion import accusers_needed
from mesh.core.node.participant import Participant
from mesh.core.params import Params, params_for
from mesh.core.snapshot import Snapshot, Status
from mesh.core.trust.records import Revocation, Rotation, StandingPage
from mesh.core.wire.envelope import Fact, Verifier
from mesh.sim.agent import Habits
from mesh.sim.checker import Checker, Violation, watch
from mesh.sim.checkers import FactsSigned
from mesh.sim.client import SimClient
from mesh.sim.population import ADMINS, Population
from mesh.sim.scenario import Mesh, mesh_of
from mesh.sim.seen import Unchanged
from mesh.sim.trial import submit
from tests.simulation.attacker import KINDS, participant_of
from tests.simulation.forger import STUFFED_AT_ONCE, Forger

NODES = 10
TEN_YEARS_S = 10 * 365.25 * 86_400
CHECK_S = 20.0
TASK_EVERY_S = 15.0
OBSERVERS_MAX = 8
FAILED = (Status.DOWN, Status.DEAD, Status.LEFT)


class Forged(AssertionError):  # noqa: N818  it says what was found
    """An honest node takes for true what nobody has said who may."""


class Evicted(AssertionError):  # noqa: N818  it says what was found
    """An honest node takes another one for lost."""


class Overfull(AssertionError):  # noqa: N818  it says what was found
    """A table has grown beyond its bound."""


def small_tables(profile: str = "local") -> Params:
    """Return numbers with bounds that liars reach within minutes, and hardly any muting."""
    params = params_for(profile)
    claims = replace(
        params.claims,
        tasks_max=2_000,
        facts_per_author_max=600,
        forgotten_keys_max=200,
        retention_s=300.0,
    )
    # Whoever forges is not heard for ten minutes; here it comes back at once and forges on.
    return replace(params, claims=claims, links=replace(params.links, mute_s=2.0))


def most(counts: Mapping[NodeId, int]) -> int:
    """Return the greatest of the counts of all authors."""
    return max(counts.values(), default=0)


def sizes_of(participant: Participant) -> list[tuple[str, int, int]]:
    """Return (name, entries, cap) of every table that somebody else can add to."""
    table, gossip, params = participant.table, participant.gossip, participant.params
    black, claims, unproven = table.forgotten, params.claims, participant.desk.garbage._unproven
    seen = max(len(gossip._holdings[family]._seen) for family in Family)
    return [
        *participant.trust.table_sizes(),
        *participant.membership.table_sizes(),
        *table.sizes(),
        *participant.backlog.sizes(),
        ("held back of one author", most(table._held_back._counts), claims.held_back_max),
        ("forgets unproven", len(unproven), UNPROVEN_MAX),
        ("keys of one author", most(black.keyed._counts), claims.forgotten_keys_max),
        ("parked", len(gossip._intake._parked), params.gossip.parked_max),
        ("seen", seen, params.gossip.seen_max),
    ]


@dataclass(slots=True, eq=False)
class Witness(Checker):
    """Looks at every node whenever it knows something new, and at all of them now and then."""

    honest: dict[str, NodeId]
    unchanged: Unchanged = field(default_factory=Unchanged)

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Nobody honest takes somebody honest for lost, not even for a moment."""
        ids = list(self.honest.values())
        for name, snapshot in snapshots.items():
            if name not in self.honest or self.unchanged.since_last(name, snapshot.members):
                continue
            for view in snapshot.members:
                if view.status in FAILED and view.id in ids:
                    raise Evicted(f"{name} believes that {view.name} is {view.status}")


@dataclass
class Gang:
    """Some members that lie together, and the others that do not know of it."""

    mesh: Mesh
    rng: random.Random
    liars: list[Forger] = field(default_factory=list)
    honest: tuple[str, ...] = ()
    sent: dict[str, int] = field(default_factory=dict)
    fill: dict[str, float] = field(default_factory=dict)
    """The share of its bound that each table has reached at an honest node, at most."""
    by_few: dict[FactId, None] = field(default_factory=dict)
    """Claims that took something from an honest owner by a verdict of few: a known limit."""

    def __post_init__(self) -> None:
        names = self.mesh.names
        # Of those who are no admins: what an admin signs is no lie, it is so.
        chosen = self.rng.sample(names[ADMINS:], len(names) // 5)
        self.honest = tuple(name for name in names if name not in chosen)
        self.liars = [Forger(self.mesh, self.rng, name, self.honest, races=True) for name in chosen]
        for liar in self.liars:
            self.mesh.world.hosts[liar.name].clock.jump_wall(TEN_YEARS_S)

    # ---- what they do together

    def frame(self) -> None:
        """All accuse one honest node, and publish a verdict with all of their signatures."""
        rng = self.rng
        victim = participant_of(self.mesh, rng.choice(self.honest))
        presence = victim.membership.own_presence
        assert presence is not None
        accused = Accusation(victim.author.id, presence.fact.boot, presence.fact.incarnation)
        signed = [liar.me.author.sign([accused])[0].signed for liar in self.liars]
        for liar, accusation in zip(self.liars, signed, strict=True):
            for name in self.honest:
                liar.say(name, Accuse.KIND, Accuse(accusation.encode()).encode())
        proofs = tuple((bytes(one.author), one.signature) for one in signed)
        observers = rng.choice([0, 1, len(proofs), 2 * len(proofs) - 1, 8])
        verdict = Verdict(
            accused.subject, accused.boot, accused.incarnation, observers, False, proofs
        )
        self.liars[0].spread(Family.MEMBERS, verdict)
        rng.choice(self.liars).steal(accused.subject, self.liars[0].spread(Family.TASKS, verdict))

    def flood(self) -> None:
        """Suspicion of everybody at once."""
        for liar in self.liars:
            for name in self.honest:
                presence = participant_of(self.mesh, name).membership.own_presence
                assert presence is not None
                raised = Incarnation(presence.fact.incarnation + self.rng.choice([0, 0, 1]))
                fact = Accusation(presence.author, presence.fact.boot, raised)
                accusation = Accuse(liar.me.author.sign([fact])[0].signed.encode())
                for target in self.honest:
                    liar.say(target, Accuse.KIND, accusation.encode())

    def equivocate(self) -> None:
        """One presence for some, another under the same numbers for the others."""
        liar = self.rng.choice(self.liars)
        half = len(self.honest) // 2
        told = replace(liar.own(), incarnation=Incarnation(liar.own().incarnation + 1))
        liar.spread(Family.MEMBERS, replace(told, tags=(("zone", "a"),)), self.honest[:half])
        liar.spread(Family.MEMBERS, replace(told, tags=(("zone", "b"),)), self.honest[half:])

    def stuff(self) -> None:
        """Tasks that nobody wants, as many as find room."""
        for liar in self.liars:
            for _ in range(STUFFED_AT_ONCE):
                number = self.rng.getrandbits(32)
                task = dot_task_id(liar.me.author.id, liar.me.boot, number)
                spec = Spec(task, "junk", b"x" * 64, (1 << 64) - 1, 3, 0, None, b"")
                liar.spread(Family.TASKS, self._filled(spec))

    def _filled(self, spec: Spec) -> Spec:
        return replace(spec, payload=self.rng.randbytes(64))

    def usurp(self) -> None:
        """Records of trust that they may not sign, and an alarm about their own keys."""
        rng, liar = self.rng, self.rng.choice(self.liars)
        victim = participant_of(self.mesh, rng.choice(self.honest)).author.public_key
        page = StandingPage(None, ((bytes(16), rng.randbytes(16)),))
        root = liar.me.trust.root_key
        facts = [
            Revocation(victim, rng.choice([0, 1, 7]), None, 0, "no"),
            Revocation(root, 0, None, 0, ""),
            Rotation(root, rng.randbytes(32), None, 0),
            page,
            Twin(liar.me.boot, Boot(rng.getrandbits(63))),
        ]
        liar.spread(Family.MEMBERS, rng.choice(facts))

    def drown(self) -> None:
        """Junk of every sort, from all of them at once."""
        for liar in self.liars:
            for _ in range(STUFFED_AT_ONCE):
                liar.junk()

    # ---- how it goes

    def moves(self) -> list[Callable[[], None]]:
        """Return what they do, each move as likely as the others."""
        alone = [
            move
            for liar in self.liars
            for move in (
                liar.inflate, liar.judge, liar.accuse, liar.rob, liar.finish, liar.admit,
                liar.change, liar.change, liar.impersonate, liar.vouch_for_strangers, liar.leap,
                liar.forget_others, liar.forget_own, liar.set_stones,
            )
        ]  # fmt: skip
        return [self.frame, self.flood, self.equivocate, self.stuff, self.usurp, *alone]

    def run(self, hours: float, every_s: float, moves: list[Callable[[], None]]) -> None:
        """Let them lie, and look again and again whether anybody believes it."""
        world = self.mesh.world
        end_s = world.now_s + hours * 3600

        def act() -> None:
            if world.now_s < end_s:
                move = self.rng.choice(moves)
                self.sent[move.__name__] = self.sent.get(move.__name__, 0) + 1
                move()
                world.call_later(every_s, act)

        world.call_later(every_s, act)
        while world.now_s < end_s:
            self.mesh.run(s=min(CHECK_S, end_s - world.now_s))
            self.check()
        self.check_signatures()

    def check(self) -> None:
        """Nobody honest was evicted or robbed, and nothing has grown beyond its bound."""
        ids = [participant_of(self.mesh, name).author.id for name in self.honest]
        for name in self.honest:
            participant = participant_of(self.mesh, name)
            for node in ids:
                status = participant.membership.status(node)
                if status is None or status in FAILED:
                    raise Evicted(f"{name} believes that an honest node is {status}")
            for table, size, cap in sizes_of(participant):
                self.fill[table] = max(self.fill.get(table, 0.0), size / cap)
                if size > cap:
                    raise Overfull(f"{name}: {size} of {cap} {table}")
            self._check_trust(name, participant)
            self._check_forgotten(name, participant, ids)
            for task in participant.table.tasks():
                record = participant.table.record(task)
                assert record is not None
                self._check_record(name, participant, record, ids)

    def _check_trust(self, name: str, participant: Participant) -> None:
        trust, world = participant.trust, self.mesh.world
        admins = [participant_of(self.mesh, admin).author.public_key for admin in self.mesh.names]
        if sorted(record.fact.key for record in trust.admins()) != sorted(admins[:ADMINS]):
            raise Forged(f"{name}: somebody was made admin")
        if trust.revoked() or trust.root_key != trust.genesis.fact.root_key:
            raise Forged(f"{name}: somebody was removed, or has become root")
        if len(trust.named_keys()) != len(world.hosts):
            raise Forged(f"{name}: somebody was admitted")

    def _check_forgotten(self, name: str, participant: Participant, ids: list[NodeId]) -> None:
        """Only a creator, or an admin, says that something is over; no liar is one."""
        black = participant.table.forgotten
        for creator in black.creators():
            for verified in black.facts(creator):
                if creator in ids and verified.author not in ids:
                    raise Forged(f"{name}: a liar forgot the work of others")

    def _check_record(
        self, name: str, participant: Participant, record: Record, ids: list[NodeId]
    ) -> None:
        claims = {view.fact.id: view for view in record.claims}
        what = f"{name}, {task_text(record.task)}"
        for view in record.claims:
            if view.valid and view.fact.fact.epoch > 1:
                self._check_taken_over(what, participant, claims, view, ids)
        for result in (record.winner, *record.superseded):
            if (
                result is not None
                and claims[result.fact.claim].fact.signed.author != result.signed.author
            ):
                raise Forged(f"{what}: a result by somebody who had no claim")

    def _check_taken_over(
        self,
        what: str,
        participant: Participant,
        claims: dict[FactId, ClaimView],
        view: ClaimView,
        ids: list[NodeId],
    ) -> None:
        """A claim follows the one before it, and an honest owner has ended that itself."""
        claim = view.fact.fact
        before = None if claim.supersedes is None else claims.get(claim.supersedes)
        if before is None or not before.valid or before.fact.fact.epoch + 1 != claim.epoch:
            raise Forged(f"{what}: epoch {claim.epoch} follows nothing")
        if before.fact.author in ids:
            assert claim.because is not None
            because = participant.gossip.get(Family.TASKS, claim.because)
            if because is not None and self._is_of_few(because.fact):
                self.by_few[view.fact.id] = None
            elif because is None or because.author != before.fact.author:
                raise Forged(f"{what}: taken over from an honest owner because of {because}")

    def _is_of_few(self, fact: Fact) -> bool:
        """Whether it is a verdict that a large enough part of the mesh has not come to.

        What the last few of a mesh conclude is a reason, so what few liars say is one too; it has
        their names on it, and is shown as local: docs/decisions/0003.
        """
        observers = min(len(self.mesh.names) - 1, OBSERVERS_MAX)
        return isinstance(fact, Verdict) and (
            fact.local or len(fact.accusations) < accusers_needed(observers)
        )

    def check_signatures(self) -> None:
        """Every fact that an honest node holds was signed by its author, who may speak."""
        world = self.mesh.world
        assert world.mesh_id is not None
        verifier = Verifier(world.suite, world.mesh_id)
        for name in self.honest:
            participant = participant_of(self.mesh, name)
            for family in Family:
                for verified in participant.gossip.facts(family):
                    try:
                        verifier.check(verified.signed)
                        participant.check_author(verified.signed.author)
                    except RemoteError as wrong:
                        raise Forged(f"{name} holds {verified.fact}: {wrong}") from wrong


def a_gang(seed: int, nodes: int, hours: float, profile: str = "local") -> Gang:
    """Return a gang about to lie, with agents at work for so long."""
    rng = random.Random(f"liars {seed}")
    mesh = mesh_of(nodes, Population(), seed=seed, params=small_tables(profile))
    # Liars sign two presences under one number: that rule is for the honest.
    mesh.world.observers[:] = [o for o in mesh.world.observers if not isinstance(o, FactsSigned)]
    gang = Gang(mesh, rng)
    honest = {name: participant_of(mesh, name).author.id for name in gang.honest}
    watch(mesh.world, [Witness(honest)])
    for name in gang.honest:
        mesh.employ(name, habits=Habits(KINDS, capacity=2, work_s=(0.5, 6.0), fails=0.1))
    for number in range(max(4, int(hours * 3600 / TASK_EVERY_S / 4))):
        client = SimClient(mesh.world, mesh.world.hosts[rng.choice(gang.honest)], f"c{number}")
        task = TaskSubmit(rng.choice(KINDS), request_id=f"task-{number}", max_attempts=50)
        client.later(rng.uniform(0.0, hours * 3600), partial(submit, client, task))
    return gang


def gang_at_work(seed: int, nodes: int, hours: float, every_s: float = 0.5) -> Gang:
    """Return a gang after it has lied for so long."""
    gang = a_gang(seed, nodes, hours)
    gang.run(hours, every_s, gang.moves())
    return gang


# ---- the command


@dataclass
class Tally:
    """What became of one seed: a line of `--out`."""

    seed: int
    nodes: int
    profile: str
    stuff: bool
    hours: float
    every_s: float
    sent: dict[str, int]
    fill: dict[str, float]
    by_few: int
    found: str
    """The kind of what was found, and how; nothing: "". """
    cpu_s: float


def tally_of(options: argparse.Namespace, seed: int, hours: float) -> Tally:
    """Let one gang lie and return what came of it."""
    begun_s, found = time.process_time(), ""
    gang = a_gang(seed, options.nodes, hours, options.profile)
    try:
        gang.run(hours, options.every, [gang.drown] if options.stuff else gang.moves())
    except (AssertionError, Violation) as finding:
        found = f"{type(finding).__name__}: {finding}"
    fill = {name: round(share, 4) for name, share in sorted(gang.fill.items())}
    cpu_s = round(time.process_time() - begun_s, 1)
    return Tally(
        seed, options.nodes, options.profile, options.stuff, hours, options.every,
        dict(sorted(gang.sent.items())), fill, len(gang.by_few), found, cpu_s,
    )  # fmt: skip


def tallies_in(path: Path | None, options: argparse.Namespace) -> list[Tally]:
    """Return what a file holds of the same sort of gangs."""
    if path is None or not path.exists():
        return []
    lines = [Tally(**json.loads(line)) for line in path.read_text().splitlines()]
    asked = (options.nodes, options.profile, options.stuff, options.every)
    return [one for one in lines if (one.nodes, one.profile, one.stuff, one.every_s) == asked]


def summary(tallies: list[Tally]) -> str:
    """Return in a few lines what became of all of them."""
    sent: Counter[str] = Counter()
    fill: dict[str, float] = {}
    for tally in tallies:
        sent.update(tally.sent)
        for name, share in tally.fill.items():
            fill[name] = max(share, fill.get(name, 0.0))
    kinds = Counter(tally.found.partition(":")[0] for tally in tallies if tally.found)
    known = {"Forged": "forged acceptances", "Evicted": "honest evictions", "Overfull": "overfull"}
    counts = [f"{words} {kinds.pop(kind, 0)}" for kind, words in known.items()]
    hours, cpu_s = sum(tally.hours for tally in tallies), sum(tally.cpu_s for tally in tallies)
    lines = [
        f"{hours:g} hours, {len(tallies)} seeds, {sent.total()} moves, {cpu_s:.0f} s of CPU",
        "moves: " + ", ".join(f"{name} {count}" for name, count in sorted(sent.items())),
        "fullest: " + ", ".join(f"{name} {share:.1%}" for name, share in sorted(fill.items())),
        ", ".join([*counts, f"other findings {kinds.total()}"]),
        f"taken over by a verdict of few, and shown so: {sum(one.by_few for one in tallies)}",
        *(f"seed {tally.seed}: {tally.found}" for tally in tallies if tally.found),
    ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return what the command takes."""
    made = argparse.ArgumentParser(prog="liars", description="A fifth of the members lie.")
    made.add_argument("--hours", type=float, default=1.0, help="simulated hours in all")
    made.add_argument("--each", type=float, default=1.0, help="simulated hours of one mesh")
    made.add_argument("--nodes", type=int, default=NODES)
    made.add_argument("--seed", type=int, default=0, help="the first one")
    made.add_argument("--every", type=float, default=0.5, help="seconds between two moves")
    made.add_argument("--profile", choices=("local", "lan", "wan"), default="local")
    made.add_argument("--stuff", action="store_true", help="fill tables, and nothing else")
    made.add_argument(
        "--out", type=Path, help="add a line of JSON for each seed; skip what is there"
    )
    made.add_argument("--json", action="store_true", help="print these lines too")
    return made


def main(arguments: list[str]) -> int:
    """Let gangs lie, a seed after the other, until the hours are over."""
    options = parser().parse_args(arguments)
    tallies = tallies_in(options.out, options)
    seen = [tally.seed for tally in tallies]
    done_h, seed = sum(tally.hours for tally in tallies), options.seed
    while done_h < options.hours:
        if seed not in seen:
            tally = tally_of(options, seed, min(options.each, options.hours - done_h))
            tallies.append(tally)
            done_h += tally.hours
            line = json.dumps(vars(tally))
            if options.out is not None:
                with options.out.open("a") as out:
                    out.write(line + "\n")
            moves, found = sum(tally.sent.values()), tally.found or "nothing found"
            words = f"seed {seed}: {tally.hours:g} h, {moves} moves, {tally.cpu_s:g} s; {found}"
            print(line if options.json else words, flush=True)
        seed += 1
    print(summary(tallies), flush=True)
    return int(any(tally.found for tally in tallies))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
