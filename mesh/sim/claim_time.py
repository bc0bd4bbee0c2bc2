"""How long it takes from asking for a task to being allowed to begin with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mesh.core.commands import Command, TaskClaim, TaskStart, TaskSubmit
from mesh.sim.client import Answer, SimClient
from mesh.sim.population import Population
from mesh.sim.sizing import Late, Setting, quantile
from mesh.sim.trial import names_of
from mesh.sim.world import World

FORMING_S = 20.0
SPREAD_S = 1.0
"""After this long even those who were not pushed to know a new task."""
STEP_S = 0.05
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class ClaimTimes:
    """From the request to claim until the start is acknowledged, once per task, nobody rivals."""

    setting: Setting
    took_s: tuple[float, ...]

    def within_s(self, share: float) -> float:
        """Return the time within which this share of the claims was started."""
        return quantile(self.took_s, share)


def measure_claims(setting: Setting, claims: int = 20) -> ClaimTimes:
    """Return how long claims take: each task is submitted at one node and claimed at another."""
    world = setting.world(Population())
    clients = [SimClient(world, world.add_host(name)) for name in names_of(setting.nodes)]
    for client in clients:
        world.start(client.host.name)
    world.run(FORMING_S)
    return ClaimTimes(setting, tuple(_claim_one(world, clients) for _ in range(claims)))


def _claim_one(world: World, clients: Sequence[SimClient]) -> float:
    rng = world.rng
    task = _tell(world, rng.choice(clients), TaskSubmit(kind="build")).text("task")
    world.run(SPREAD_S)
    worker, begun_s = rng.choice(clients), world.now_s
    began: list[float] = []

    def claim() -> None:
        worker.ask(TaskClaim(task=task, detached=True, agent=worker.name), claimed)

    def claimed(answer: Answer) -> None:
        if answer.error is not None:
            worker.later(STEP_S, claim)  # where much is lost the task may not be known yet
        else:
            worker.ask(TaskStart(answer.text("handle")), started)

    def started(answer: Answer) -> None:
        if answer.error is None:
            began.append(world.now_s)

    claim()
    _wait(world, lambda: bool(began))
    return began[0] - begun_s


def _tell(world: World, client: SimClient, command: Command) -> Answer:
    answer = client.ask(command)
    _wait(world, lambda: answer.done)
    return answer


def _wait(world: World, true: Callable[[], bool]) -> None:
    begun_s = world.now_s
    while not true():
        if world.now_s - begun_s >= LIMIT_S:
            raise Late(f"not within {LIMIT_S:g} s")
        world.run(STEP_S)
