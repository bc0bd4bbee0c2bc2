"""What `mesh up` was asked to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The options of `mesh up`, parsed and with defaults left open (None)."""

    join: str | None = None
    """The text of a ticket."""
    seeds: tuple[str, ...] = ()
    mesh: str | None = None
    """The mesh id to insist on, as hex."""
    open: bool = False
    insist: bool = False
    """An open mesh on an address that is not loopback (`--i-know`)."""
    no_admin: bool = False
    name: str | None = None
    bind: str | None = None
    advertise: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    data: str | None = None
    socket: str | None = None
    group: str | None = None
    """Whose members may use the control socket, but for the powers of the node's own user."""
    instance: int | None = None
    profile: str | None = None
    retention_s: float | None = None
    """How long this node keeps finished tasks of its own; None: as long as is usual."""
    json: bool = False
