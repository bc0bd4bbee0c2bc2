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
    NOT_FOUND: "no such node, task or offer",
    PERMISSION: "this user may not do that",
    TIMED_OUT: "not within the time, or no task to claim",
    CONFLICT: "the claim is lost, or the task is owned or finished already",
    CANCELED: "the task that was waited for is canceled",
    INTERRUPTED: "interrupted from the keyboard",
}

_ERRORS = {
    USAGE: (
        "usage invalid_params invalid_request unknown_method parse_error frame_too_large "
        "ambiguous bad_address bad_digest bad_duration bad_founding bad_group bad_mesh_id "
        "bad_name bad_note bad_pattern bad_presence bad_profile bad_progress bad_retention "
        "bad_root_key bad_seed bad_text bad_ticket bad_time bad_ttl bad_uses bind_not_numeric "
        "blob_size blob_too_large checkpoint_too_large circular context_too_large "
        "deadline_passed never_due no_kinds no_ticket open_mesh_reachable payload_too_large "
        "presence_too_large profile_is_fixed socket_path_too_long text_too_long "
        "too_many_capabilities too_many_parents two_payloads unknown_state"
    ),
    NOT_FOUND: "not_found no_offer no_parent",
    PERMISSION: (
        "permission not_permitted not_admin root_needed not_the_root not_the_next_root "
        "state_too_open state_foreign_owner socket_directory_foreign socket_directory_open "
        "not_of_the_group"
    ),
    TIMED_OUT: "timed_out no_task",
    CONFLICT: (
        "claim_lost already_owned already_finished unknown_handle request_id_reused no_owner "
        "no_result not_finished not_settled"
    ),
    CANCELED: "canceled",
}
"""Names of errors by their exit code; every other error is a failure."""
_CODE_OF_ERROR = {name: code for code, names in _ERRORS.items() for name in names.split()}
_CODE_OF_STATE = {"completed": OK, "failed": FAILED, "canceled": CANCELED}


def code_of_error(name: str) -> int:
    """Return the exit code for the name of an error."""
    return _CODE_OF_ERROR.get(name, FAILED)


def code_of_state(state: str) -> int:
    """Return the exit code for the end of a task that was waited for."""
    return _CODE_OF_STATE.get(state, FAILED)
