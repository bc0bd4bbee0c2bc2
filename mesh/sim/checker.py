"""What a checker is: it hears of what agents and disks see as it happens, and of nodes.

It sees all nodes every so often, and each whenever it commits. A broken rule raises `Violation`.
"""

from collections.abc import Iterable, Mapping, Sequence

from mesh.core.effects import Notify, Row
from mesh.core.snapshot import Snapshot
from mesh.sim.history import Event
from mesh.sim.host import Host
from mesh.sim.world import World


class Violation(Exception):  # noqa: N818  the word of the field
    """A rule of the mesh was broken: `rule` is its number, the text says how."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


class Checker:
    """Sees everything, and by itself minds nothing."""

    def handle_event(self, event: Event) -> None:
        """A client saw this."""

    def handle_rows(self, host: Host, rows: Sequence[Row]) -> None:
        """A node asked for these rows to be made durable."""

    def handle_written(self, host: Host, rows: Sequence[Row]) -> None:
        """These rows are durable from now on, whether or not the node is there to hear of it."""

    def handle_notice(self, host: Host, notice: Notify) -> None:
        """A node told its watchers, or one client, something."""

    def handle_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """All running nodes at one moment, by name."""

    def finish(self, core: Sequence[str], snapshots: Mapping[str, Snapshot]) -> None:
        """Faults have stopped long ago; these nodes are what was left running."""


def watch(world: World, checkers: Iterable[Checker]) -> None:
    """Let checkers see a world from now on; call `world.watch` for snapshots."""
    for checker in checkers:
        world.observers.append(checker)
        world.history.listeners.append(checker.handle_event)


def unwatch(world: World, *kinds: type[Checker]) -> None:
    """Let checkers of these kinds see a world no longer; all of them if none is named."""
    gone = [checker for checker in world.observers if isinstance(checker, kinds or Checker)]
    for checker in gone:
        world.observers.remove(checker)
        world.history.listeners.remove(checker.handle_event)
