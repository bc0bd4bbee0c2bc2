"""Is this token still the greatest? What a resource may ask before it lets somebody write."""

from mesh.core.claims.record import Record, token_text
from mesh.core.effects import Json
from mesh.core.identity import task_text

CURRENT, STALE, UNKNOWN = "current", "stale", "unknown"


def fence_view(record: Record, token: str) -> dict[str, Json]:
    """Return whether a token owns its task, as far as is known here, and the greatest token.

    `current`: it owns the task. `stale`: a greater one is known, or the claim or the task is over.
    `unknown`: no valid claim known here has it; it may be newer than what has arrived.
    """
    known = [token_text(view.fact) for view in record.claims if view.valid]
    holder = record.holder
    owns = holder is not None and record.is_worked_on and token_text(holder.fact) == token
    over = token in known or any(other > token for other in known)
    return {
        "task": task_text(record.task),
        "token": token,
        "fence": CURRENT if owns else STALE if over else UNKNOWN,
        "greatest": known[-1] if known else None,
        "state": record.state.value,
    }
