"""What was acknowledged is on disks, and stays there: S1, and S6 for as far as it is about that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mesh.core.effects import Row
from mesh.core.identity import task_text
from mesh.core.snapshot import Snapshot
from mesh.sim.checker import Checker, Violation
from mesh.sim.history import Event, What
from mesh.sim.host import Host
from mesh.sim.stored import Stored, Write
from mesh.sim.world import World

RULES = {What.SUBMITTED: "S1", What.COMPLETED: "S6"}
"""Which rule keeps what was acknowledged."""


@dataclass(slots=True, eq=False)
class SubmitsKept(Checker):
    """S1: a submit that was acknowledged with n copies survives the loss of n - 1 disks."""

    world: World
    acknowledged: dict[str, Event] = field(default_factory=dict)

    def handle_event(self, event: Event) -> None:
        """A client saw this."""
        if event.what is What.SUBMITTED:
            self.acknowledged[event.task] = event

    def finish(self, core: Sequence[str], snapshots: Mapping[str, Snapshot]) -> None:
        """Faults have stopped long ago; these nodes are what was left running."""
        known = {
            name: {task_text(view.id): None for view in snapshots[name].tasks} for name in core
        }
        for task, event in self.acknowledged.items():
            if self.world.ruined(event.copied_s) >= max(1, event.copies):
                continue
            for name in core:
                if task not in known[name]:
                    raise Violation("S1", f"{name} does not know {task}, submitted as {event}")


@dataclass(slots=True, eq=False)
class WritesDurable(Checker):
    """S1, S6: what was acknowledged is on as many disks as was said, and no node takes it off one.

    Holds at every moment what the checkers of the end ask once; silent until the world knows its
    mesh id. A completion counts where the claim and the spec that it rests on are durable too. Of
    a task that is over and forgotten nothing need be kept: whoever submits its key again is told.
    """

    world: World
    _acknowledged: dict[Write, Event] = field(default_factory=dict)
    _stored: Stored = field(default_factory=Stored)

    def handle_event(self, event: Event) -> None:
        """A client saw this."""
        if event.what not in (What.SUBMITTED, What.COMPLETED) or self.world.mesh_id is None:
            return
        write = (event.task, event.token if event.what is What.COMPLETED else "")
        self._acknowledged[write] = event
        disks = self._stored.disks(*write)
        if len(disks) < max(1, event.copies) and not self._stored.is_forgotten(event.task):
            held = ", ".join(f"{name} (disk {number})" for name, number in disks) or "nobody"
            raise Violation(RULES[event.what], f"durable at {held}, acknowledged as {event}")

    def handle_written(self, host: Host, rows: Sequence[Row]) -> None:
        """These rows are durable from now on, whether or not the node is there to hear of it."""
        if self.world.mesh_id is None:
            return
        for write in self._stored.take(host, self.world.mesh_id, rows):
            event = self._acknowledged.get(write)
            if event is not None:
                raise Violation(RULES[event.what], f"{host.name} took off its disk: {event}")
