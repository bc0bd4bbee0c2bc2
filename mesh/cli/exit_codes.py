"""What the exit code of every command means, and the code for each error of a node."""

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
NOT_FOUND = 4
PERMISSION = 5
TIMED_OUT = 6
CONFLICT = 7
CANCELED = 8
INTERRUPTED = 130

MEANINGS = {
    OK: "done",
    FAILED: "failed, also a task that was waited for",
    USAGE: "wrong use of the command",
    UNREACHABLE: "no node answers at the socket",
    NOT_FOUND: "no such node or task",
    PERMISSION: "this user may not do that",
    TIMED_OUT: "not within the time, or no task to claim",
    CONFLICT: "the claim is lost, or the task is owned or finished already",
    CANCELED: "the task that was waited for is canceled",
    INTERRUPTED: "interrupted from the keyboard",
}

_CODE_OF_ERROR = {
    "not_found": NOT_FOUND,
    "permission": PERMISSION,
    "not_permitted": PERMISSION,
    "not_an_admin": PERMISSION,
    "timed_out": TIMED_OUT,
    "no_task": TIMED_OUT,
    "claim_lost": CONFLICT,
    "already_owned": CONFLICT,
    "already_finished": CONFLICT,
    "unknown_handle": CONFLICT,
    "request_id_reused": CONFLICT,
    "no_owner": CONFLICT,
    "no_result": CONFLICT,
    "not_finished": CONFLICT,
    "no_offer": NOT_FOUND,
    "text_too_long": USAGE,
    "bad_duration": USAGE,
    "bad_progress": USAGE,
    "context_too_large": USAGE,
    "canceled": CANCELED,
    "unknown_method": USAGE,
    "invalid_params": USAGE,
    "usage": USAGE,
    "bad_pattern": USAGE,
    "unknown_state": USAGE,
    "no_kinds": USAGE,
    "ambiguous": USAGE,
}
_CODE_OF_STATE = {"completed": OK, "failed": FAILED, "canceled": CANCELED}


def code_of_error(name: str) -> int:
    """Return the exit code for the name of an error."""
    return _CODE_OF_ERROR.get(name, FAILED)


def code_of_state(state: str) -> int:
    """Return the exit code for the end of a task that was waited for."""
    return _CODE_OF_STATE.get(state, FAILED)
