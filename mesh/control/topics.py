"""What a client may hear of: the topics of `watch`, what each says, and to whom."""

from typing import NamedTuple


class Topic(NamedTuple):
    """One kind of event."""

    fields: str
    """What it carries beside `topic`."""
    says: str
    to_owner: bool = False
    """Whether the agent that it is about hears it unasked."""


TOPICS = {
    "alarm": Topic(
        "kind, text",
        "Something is badly wrong with this node: `key_lives_twice` or `disk_failing`.",
    ),
    "blob": Topic(
        "digest, size, stored, complete, tasks", "How far a blob is that is fetched or stored."
    ),
    "join": Topic("name, admin", "This node has let somebody in."),
    "join.pending": Topic("name, fingerprint", "Somebody waits here to be let in."),
    "member": Topic(
        "node, name, old, new",
        "A member's status has changed; `old` is null for a new one, `new` may be `removed`.",
    ),
    "node": Topic("state", "This node: `pending`, `member`, `left` or `removed`."),
    "task": Topic("task, kind, state, owner, token", "A task has changed."),
    "task.accept": Topic("task, by, accept, offer, agent", "An offer was accepted."),
    "task.answer": Topic(
        "task, by, answer, question, agent", "A question was answered, or (`timed_out`) was not."
    ),
    "task.answered": Topic(
        "task, question, state, late, text, answers", "What became of your question.", to_owner=True
    ),
    "task.auction": Topic(
        "task, kind, payload, blob, prefers, window_s, created_at",
        "Bids are awaited; agents attached for the kind hear it.",
        to_owner=True,
    ),
    "task.decline": Topic("task, by, decline, offer, agent, reason", "An offer was turned down."),
    "task.forget_conflict": Topic(
        "task", "Its creator forgot a task that looked open here; it is set aside."
    ),
    "task.lost": Topic(
        "task, token, by, by_token, reason",
        "A claim is over: stop. Reasons: `canceled`, `outranked`, `superseded`, `released`, "
        "`handed_over`, `timed_out`, `not_durable`.",
        to_owner=True,
    ),
    "task.offer": Topic(
        "task, by, offer, claim, to, agent, context, context_blob, withdrawn",
        "Somebody would hand a task over.",
    ),
    "task.progress": Topic(
        "task, by, progress, state, note, done, total, percent", "How the work goes."
    ),
    "task.question": Topic("task, by, question, claim, text", "Somebody asks."),
    "task.release": Topic(
        "task, by, release, claim, reason, not_before",
        "A task was taken away, or put off.",
    ),
    "task.result_superseded": Topic(
        "task, by, token", "Another result counts from now on, of a greater token."
    ),
    "task.resumed": Topic("task, token", "A suspended claim may go on.", to_owner=True),
    "task.review": Topic(
        "task, by, review, result, accepted, agent, reason", "A result was accepted or refused."
    ),
    "task.settled": Topic(
        "as task.claim answers", "A claim made with `provisional` may start.", to_owner=True
    ),
    "task.suspended": Topic(
        "task, token",
        "This machine has slept: do nothing that others see until `task.resumed` or `task.lost`.",
        to_owner=True,
    ),
}
