"""A fifth of the members lie together: floor(N / 5) of them, drawn at random under a seed.

`python -m tests.simulation.liars [--hours H] [--nodes N] [--seed S]` lets them lie for that many
simulated hours while the others work, and says how often they did what. No honest node may be
believed to have failed, no fact may be held that its author has not signed, no claim may be taken
from an honest owner, and every table stays within its bound.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from mesh.core.claims.facts import Spec
from mesh.core.commands import TaskSubmit
from mesh.core.gossip.gossip import Family
from mesh.core.identity import Boot, Incarnation, dot_task_id
from mesh.core.membership.facts import Accusation, Twin, Verdict
from mesh.core.membership.messages import Accuse
from mesh.core.params import Params, params_for
from mesh.core.snapshot import Status
from mesh.core.trust.records import Revocation, Rotation, StandingPage
from mesh.core.wire.envelope import Verifier
from mesh.sim.agent import Habits
from mesh.sim.checkers import FactsSigned
from mesh.sim.client import SimClient
from mesh.sim.population import ADMINS, Population
from mesh.sim.scenario import Mesh, mesh_of
from mesh.sim.trial import submit
from tests.simulation.test_attacker import KINDS, Attacker, participant_of

NODES = 10
TEN_YEARS_S = 10 * 365.25 * 86_400
CHECK_S = 20.0
TASK_EVERY_S = 15.0
STUFFED_AT_ONCE = 8
FAILED = (Status.DOWN, Status.DEAD, Status.LEFT)


def small_tables() -> Params:
    """Return numbers with bounds that liars reach within minutes."""
    params = params_for("local")
    claims = replace(params.claims, tasks_max=2_000, facts_per_author_max=600)
    return replace(params, claims=claims)


@dataclass
class Gang:
    """Some members that lie together, and the others that do not know of it."""

    mesh: Mesh
    rng: random.Random
    liars: list[Attacker] = field(default_factory=list)
    honest: tuple[str, ...] = ()
    sent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.mesh.names
        # Of those who are no admins: what an admin signs is no lie, it is so.
        chosen = self.rng.sample(names[ADMINS:], len(names) // 5)
        self.honest = tuple(name for name in names if name not in chosen)
        self.liars = [Attacker(self.mesh, self.rng, name, self.honest) for name in chosen]
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
        page = StandingPage(None, (rng.randbytes(16),))
        root = liar.me.trust.root_key
        facts = [
            Revocation(victim, rng.choice([0, 1, 7]), None, 0, "no"),
            Revocation(root, 0, None, 0, ""),
            Rotation(root, rng.randbytes(32), None, 0),
            page,
            Twin(liar.me.boot, Boot(rng.getrandbits(63))),
        ]
        liar.spread(Family.MEMBERS, rng.choice(facts))

    # ---- how it goes

    def moves(self) -> list[Callable[[], None]]:
        """Return what they do, each move as likely as the others."""
        alone = [
            move
            for liar in self.liars
            for move in (liar.inflate, liar.judge, liar.accuse, liar.rob, liar.finish, liar.admit)
        ]
        return [self.frame, self.flood, self.equivocate, self.stuff, self.usurp, *alone]

    def run(self, hours: float, every_s: float) -> None:
        """Let them lie, and look again and again whether anybody believes it."""
        world, moves = self.mesh.world, self.moves()
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

    def check(self) -> None:
        """Nobody honest was evicted or robbed, and nothing has grown beyond its bound."""
        ids = [participant_of(self.mesh, name).author.id for name in self.honest]
        for name in self.honest:
            participant = participant_of(self.mesh, name)
            for node in ids:
                status = participant.membership.status(node)
                assert status is not None, f"{name} has forgotten an honest node"
                assert status not in FAILED, f"{name} believes that an honest node is {status}"
            sizes = (*participant.trust.table_sizes(), *participant.table.sizes())
            assert all(size <= cap for _, size, cap in sizes), sizes
            for task in participant.table.tasks():
                record = participant.table.record(task)
                assert record is not None
                claims = {view.fact.id: view for view in record.claims}
                for view in record.claims:
                    before = claims.get(view.fact.fact.supersedes or view.fact.id)
                    if view.valid and before is not view and before is not None:
                        kept = before.fact.author not in ids or before.ended_by is not None
                        assert kept, f"{name}: a claim of an honest owner was taken over"

    def check_signatures(self) -> None:
        """Every fact that an honest node holds was signed by its author, who may speak."""
        world = self.mesh.world
        assert world.mesh_id is not None
        verifier = Verifier(world.suite, world.mesh_id)
        for name in self.honest:
            participant = participant_of(self.mesh, name)
            for family in Family:
                for verified in participant.gossip.facts(family):
                    verifier.check(verified.signed)
                    participant.check_author(verified.signed.author)


def gang_at_work(seed: int, nodes: int, hours: float, every_s: float = 0.5) -> Gang:
    """Return a gang after it has lied for so long, with agents at work all along."""
    rng = random.Random(f"liars {seed}")
    mesh = mesh_of(nodes, Population(), seed=seed, params=small_tables())
    # Liars sign two presences under one number: that rule is for the honest.
    mesh.world.observers[:] = [o for o in mesh.world.observers if not isinstance(o, FactsSigned)]
    gang = Gang(mesh, rng)
    for name in gang.honest:
        mesh.employ(name, habits=Habits(KINDS, capacity=2, work_s=(0.5, 6.0), fails=0.1))
    for number in range(max(4, int(hours * 3600 / TASK_EVERY_S / 4))):
        client = SimClient(mesh.world, mesh.world.hosts[rng.choice(gang.honest)], f"c{number}")
        task = TaskSubmit(rng.choice(KINDS), request_id=f"task-{number}", max_attempts=50)
        client.later(rng.uniform(0.0, hours * 3600), partial(submit, client, task))
    gang.run(hours, every_s)
    gang.check_signatures()
    return gang


def main(arguments: list[str]) -> int:
    """Let gangs lie, a seed after the other, until the hours are over."""
    parser = argparse.ArgumentParser(prog="liars", description="A fifth of the members lie.")
    parser.add_argument("--hours", type=float, default=1.0, help="simulated hours in all")
    parser.add_argument("--each", type=float, default=1.0, help="simulated hours of one mesh")
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two moves")
    options = parser.parse_args(arguments)
    done_h, seed, begun_s = 0.0, options.seed, time.perf_counter()
    while done_h < options.hours:
        hours = min(options.each, options.hours - done_h)
        gang = gang_at_work(seed, options.nodes, hours, options.every)
        done_h += hours
        moves = sum(gang.sent.values())
        took_s = time.perf_counter() - begun_s
        print(
            f"seed {seed}: {hours:g} h, {moves} moves; {done_h:g} h in {took_s:.0f} s", flush=True
        )
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
