"""What a refusal to let somebody join means to the person who wants to."""

from mesh.core.errors import LocalError, Refusal

ASK_AGAIN = "ask for a new ticket with `mesh invite`"
REFUSALS: dict[str, tuple[str, str, str]] = {
    Refusal.WRONG_MESH: (
        "wrong_mesh",
        "the node at that address belongs to another mesh",
        f"check the address, or {ASK_AGAIN}",
    ),
    Refusal.TICKET_UNKNOWN: (
        "ticket_unknown",
        "the node at that address did not issue this ticket, or has forgotten it",
        f"check the address, or {ASK_AGAIN}",
    ),
    Refusal.EXPIRED: ("ticket_expired", "the ticket has expired", ASK_AGAIN),
    Refusal.TICKET_USED: ("ticket_used", "the ticket has been used up", ASK_AGAIN),
    Refusal.NOT_ADMITTED: (
        "ticket_needed",
        "the node at that address answers nobody without a ticket or the mesh id",
        "give a ticket with --join, or the id with --mesh, or run `mesh admit --listen 10m` there",
    ),
    Refusal.DENIED: ("denied", "an admin has said no to this node", "ask the admins why"),
    Refusal.OVER_CAP: ("mesh_full", "the mesh admits no more members", "ask one of its admins"),
}


def refused(reason: str) -> LocalError:
    """Return what a refusal by the issuer means to the person who wants to join."""
    name, message, hint = REFUSALS.get(
        reason, ("join_refused", f"the issuer refused: {reason}", ASK_AGAIN)
    )
    return LocalError(name, message, hint)
