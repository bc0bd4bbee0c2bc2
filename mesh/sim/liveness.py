"""What must hold once faults have stopped and a connected core has had time for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh.core.identity import task_text
from mesh.core.snapshot import Snapshot, Status, TaskState
from mesh.sim.checker import Violation
from mesh.sim.checkers import said
from mesh.sim.history import Event, What
from mesh.sim.world import World

ENDED = (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED)


@dataclass(frozen=True, slots=True)
class Final:
    """What was left of a world: the core that runs, and what its agents are willing to do."""

    world: World
    core: tuple[str, ...]
    willing: tuple[str, ...]
    """Kinds for which an honest agent waits at a node of the core."""

    def snapshots(self) -> dict[str, Snapshot]:
        """Return the state of the core, by name; raises Violation when one of it does not run."""
        found = {}
        for name in self.core:
            host = self.world.hosts[name]
            if host.node is None:
                raise Violation("L3", f"{name} does not run: {host.halted or 'off'}")
            found[name] = self.world.snapshot(host)
        return found


def check_convergence(final: Final) -> None:
    """L1, L3: raise Violation unless all see each other, and the same, and hold the same facts."""
    snapshots = final.snapshots()
    check_alive(snapshots)
    check_agreement(snapshots)


def check_agreement(snapshots: Mapping[str, Snapshot]) -> None:
    """L1: raise Violation unless all hold the same facts and see the same members and tasks."""
    names = list(snapshots)
    for name in names[1:]:
        one, other = snapshots[names[0]], snapshots[name]
        for table, ours, theirs in _tables(one, other):
            if ours != theirs:
                ours_only = sorted(repr(item) for item in ours if item not in theirs)
                theirs_only = sorted(repr(item) for item in theirs if item not in ours)
                raise Violation(
                    "L1",
                    f"{table}: only at {names[0]} {ours_only}, only at {name} {theirs_only}",
                )


Table = tuple[str, Sequence[object], Sequence[object]]


def _tables(one: Snapshot, other: Snapshot) -> list[Table]:
    def members(snapshot: Snapshot) -> Sequence[object]:
        return sorted(said(view) for view in snapshot.members if view.status is Status.ALIVE)

    def tasks(snapshot: Snapshot) -> Sequence[object]:
        return sorted(snapshot.tasks, key=lambda view: view.id)

    return [
        ("live members", members(one), members(other)),
        ("task facts", sorted(one.task_facts), sorted(other.task_facts)),
        ("tasks", tasks(one), tasks(other)),
        ("member facts", sorted(one.member_facts), sorted(other.member_facts)),
    ]


def check_completion(final: Final) -> None:
    """L2: raise Violation unless every task with a willing agent has come to an end."""
    history = final.world.history
    kinds = {event.task: event for event in history.of(What.SUBMITTED)}
    for name, snapshot in final.snapshots().items():
        states = {task_text(view.id): view.state for view in snapshot.tasks}
        for task, event in kinds.items():
            if event.kind not in final.willing:
                continue
            if final.world.ruined(event.copied_s) >= max(1, event.copies) and task not in states:
                continue
            state = states.get(task)
            if state not in ENDED:
                raise Violation("L2", f"{task} ({event.kind}) is {state} at {name}")


def check_alive(snapshots: Mapping[str, Snapshot]) -> None:
    """L3: raise Violation unless each of these nodes is alive in the view of each."""
    for name, snapshot in snapshots.items():
        alive = {view.id: view.boot for view in snapshot.members if view.status is Status.ALIVE}
        for other, theirs in snapshots.items():
            if alive.get(theirs.id) != theirs.boot:
                raise Violation("L3", f"{other} is not alive in the view of {name}")


def check_workers(final: Final) -> None:
    """L4: raise Violation unless whoever is at work in the core owns what it works on."""
    at_work: dict[tuple[str, str], Event] = {}
    for event in final.world.history.events:
        if event.what is What.STARTED:
            at_work[event.agent, event.token] = event
        elif event.what is What.STOPPED:
            at_work.pop((event.agent, event.token), None)
    snapshots = final.snapshots()
    for event in at_work.values():
        if event.host not in snapshots:
            continue
        tokens = {task_text(view.id): view.token for view in snapshots[event.host].tasks}
        if tokens.get(event.task) != event.token:
            raise Violation("L4", f"{event} is still at work, and {event.host} knows better")


def check_final(final: Final) -> None:
    """Raise Violation unless all of L1, L2, L3 and L4 hold."""
    check_convergence(final)
    check_completion(final)
    check_workers(final)
