"""Why a node stops by itself, and what to do about it."""

from mesh.core.effects import Halt

START_AFRESH = "join again with a new ticket, from an empty data directory"
LEFT = Halt("left the mesh")
REMOVED = Halt(
    "this node was removed from the mesh: its key takes part no more",
    "to come back it needs a new key, from `mesh rekey`, and a new ticket",
)
RISE = Halt("this node's disk was older than what the mesh knows of it", again=True)
