"""Why a node stops by itself, and what to do about it."""

from mesh.core.effects import Halt

START_AFRESH = "join again with a new ticket, from an empty data directory"
LEFT = Halt("left the mesh")
REMOVED = Halt(
    "this node was removed from the mesh: its key takes part no more",
    "to come back it needs a new key, from `mesh rekey`, and a new ticket",
)
OUTLIVED = Halt(
    "somebody has started later with this node's key than its data directory knows",
    "if the directory is an old copy, start again: the node now knows its later starts; "
    "if two nodes run with one key, stop the other for good",
)
