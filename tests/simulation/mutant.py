"""What a planted bug is: names of the real code, and what stands there for a while."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from tests.simulation.hunting import Hunt


class Patch(NamedTuple):
    """A name of a module or a class, and what stands there while the bug is planted."""

    owner: object
    name: str
    instead: object


@dataclass(frozen=True)
class Mutant:
    """A planted bug: what it does, which rule it breaks, and who is sent to catch it."""

    name: str
    says: str
    rule: str
    hunt: Hunt
    patches: tuple[Patch, ...]
    seed: int = 0
    """The first seed under which the hunt is known to catch it."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug in the code for a while."""
        with ExitStack() as undo:
            for owner, name, instead in self.patches:
                undo.callback(setattr, owner, name, inspect.getattr_static(owner, name))
                setattr(owner, name, instead)
            yield
