"""What a control client may ask: one typed struct per method; its tag is the method's name."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mesh.core.blob_commands import BlobCommand
from mesh.core.command_fields import (
    Base64,
    Digest,
    Handle,
    Limit,
    Name,
    RequestId,
    Seconds,
    TagName,
    TagValue,
    TaskText,
    WallSeconds,
)
from mesh.core.trust_commands import TrustCommand


class Hello(msgspec.Struct, tag="hello", frozen=True, forbid_unknown_fields=True):
    """Versions of the node and of this interface."""


class NodeStatus(msgspec.Struct, tag="node.status", frozen=True, forbid_unknown_fields=True):
    """Who this node is, its mesh, its counters."""


class NodeInfo(msgspec.Struct, tag="node.info", frozen=True, forbid_unknown_fields=True):
    """Everything known of one node; of this one without `node`."""

    node: str | None = None


class NodeLeave(msgspec.Struct, tag="node.leave", frozen=True, forbid_unknown_fields=True):
    """Say goodbye to the mesh and stop the node."""


class NodeIdentity(msgspec.Struct, tag="node.id", frozen=True, forbid_unknown_fields=True):
    """Id, fingerprint and public key of this node, and of its mesh."""


class MemberList(msgspec.Struct, tag="member.list", frozen=True, forbid_unknown_fields=True):
    """All known members, this node included."""

    status: str | None = None
    tags: dict[str, str] = {}


class MemberWait(msgspec.Struct, tag="member.wait", frozen=True, forbid_unknown_fields=True):
    """Answer once at least `members` are alive, this node included."""

    members: Annotated[int, Meta(ge=1, le=100_000)]
    wait_s: Seconds = 30.0


class AgentAttach(msgspec.Struct, tag="agent.attach", frozen=True, forbid_unknown_fields=True):
    """This connection is an agent: it waits for tasks of these kinds."""

    name: Name
    kinds: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
    capacity: Annotated[int, Meta(ge=1, le=1024)] = 1


class TaskSubmit(msgspec.Struct, tag="task.submit", frozen=True, forbid_unknown_fields=True):
    """Put a task into the table; answered once it is durable on `copies` nodes.

    Where fewer are there, or they say nothing in time, on those: the answer tells on how many.
    A `payload` of over 700 bytes, up to 64 KiB, is kept as a blob, as if `blob` had been given.
    Only a disk with the task and its bytes counts: two nodes fetch up to 64 KiB of them at once;
    what is larger is fetched when somebody waits for it, and `copies` is 1.
    """

    kind: Name
    payload: Base64 = ""
    request_id: RequestId | None = None
    copies: Annotated[int, Meta(ge=1, le=8)] = 2
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    backoff_s: Seconds = 1.0
    orphan_grace_s: Seconds | None = None
    note: Annotated[str, Meta(max_length=64)] = ""
    priority: Annotated[int, Meta(ge=0, le=255, description="higher goes first")] = 0
    not_before: WallSeconds | None = None
    deadline: WallSeconds | None = None
    queue_ttl_s: Limit | None = None
    run_limit_s: Limit | None = None
    after: tuple[TaskText, ...] = ()
    on_parent_failure: Literal["cancel", "run", "wait"] = "cancel"
    limit: tuple[Name, Annotated[int, Meta(ge=1, le=1_024)]] | None = None
    dedupe: Name | None = None
    dedupe_window_s: Annotated[float, Meta(ge=1, le=31_536_000)] = 86_400.0
    requires: dict[TagName, TagValue] = {}
    prefers: dict[TagName, TagValue] = {}
    allocation: Literal["pull", "offered", "auction"] = "pull"
    bid_window_s: Annotated[float, Meta(ge=0.01, le=3_600)] | None = None
    progress_limit_s: Seconds | None = None
    verify: Annotated[int, Meta(ge=0, le=16)] = 0
    blob: Digest | None = None


class TaskList(msgspec.Struct, tag="task.list", frozen=True, forbid_unknown_fields=True):
    """Tasks this node knows of, oldest first; `duplicates` were started or completed twice.

    `conflicts` are set aside here: their creator forgot them while they looked open.
    """

    kind: str | None = None
    state: str | None = None
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    owner: Annotated[str, Meta(max_length=64, description="node or agent")] | None = None
    key: Annotated[str, Meta(max_length=64, description="of a limit, or dedupe")] | None = None
    since_s: Seconds | None = None
    duplicates: bool = False
    conflicts: bool = False


class TaskShow(msgspec.Struct, tag="task.show", frozen=True, forbid_unknown_fields=True):
    """One task in full."""

    task: TaskText


class TaskHistory(msgspec.Struct, tag="task.history", frozen=True, forbid_unknown_fields=True):
    """The signed facts of one task, in the order of their tokens."""

    task: TaskText


class TaskWait(msgspec.Struct, tag="task.wait", frozen=True, forbid_unknown_fields=True):
    """Answer once the task is completed, failed or canceled."""

    task: TaskText
    wait_s: Seconds = 3600.0


class TaskClaim(msgspec.Struct, tag="task.claim", frozen=True, forbid_unknown_fields=True):
    """Own a task: one by id, or the next of some kinds; answered once it may be started.

    With `detached` the claim lives as long as this node; otherwise as long as this connection.
    """

    task: TaskText | None = None
    kinds: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    wait_s: Seconds = 0.0
    provisional: bool = False
    detached: bool = False
    agent: Name = "cli"
    request_id: RequestId | None = None
    score: Annotated[int, Meta(ge=0, le=65_535, description="what to bid in auctions")] | None = (
        None
    )
    by_task: Annotated[bool, Meta(description="bid in auctions what `task.bid` says")] = False


class TaskBid(msgspec.Struct, tag="task.bid", frozen=True, forbid_unknown_fields=True):
    """What this agent bids for one task in its claims that are `by_task`; null: nothing.

    An attached agent is asked for it with an event `task.auction`, once for each time that the task
    is auctioned, and again half a minute later if it said nothing. Until it has said it stays away.
    """

    task: TaskText
    score: Annotated[int, Meta(ge=0, le=65_535)] | None = None


class TaskResume(msgspec.Struct, tag="task.resume", frozen=True, forbid_unknown_fields=True):
    """Take up a claim again on this connection, after a restart of the node or a broken socket."""

    handle: Handle


class TaskStart(msgspec.Struct, tag="task.start", frozen=True, forbid_unknown_fields=True):
    """Say that work on the claim begins; counted in `starts`."""

    handle: Handle


class TaskComplete(msgspec.Struct, tag="task.complete", frozen=True, forbid_unknown_fields=True):
    """The work is done; answered once the result is durable on `copies` nodes.

    An `output` of over 700 bytes, up to 64 KiB, is kept as a blob, as if `blob` had been given.
    Only a disk with the result and its bytes counts: two nodes fetch up to 64 KiB of them at once,
    the submitter's first; what is larger that one alone, and `copies` may be 1.
    """

    handle: Handle
    output: Base64 = ""
    request_id: RequestId | None = None
    copies: Annotated[int, Meta(ge=1, le=8)] = 2
    blob: Digest | None = None


class TaskFail(msgspec.Struct, tag="task.fail", frozen=True, forbid_unknown_fields=True):
    """This attempt failed; the task is tried again until its attempts are used up."""

    handle: Handle
    error: Annotated[str, Meta(max_length=600)] = ""
    request_id: RequestId | None = None


class TaskRelease(msgspec.Struct, tag="task.release", frozen=True, forbid_unknown_fields=True):
    """Give the task back; costs no attempt. With `put_off_s` nobody gets it before."""

    handle: Handle
    request_id: RequestId | None = None
    put_off_s: Annotated[float, Meta(ge=0, le=31_536_000)] | None = None


class TaskCancel(msgspec.Struct, tag="task.cancel", frozen=True, forbid_unknown_fields=True):
    """Nobody shall do this task any more; a running owner is told to stop.

    For its submitters (under a dedupe key all of them), its owner's node and admins.
    """

    task: TaskText
    request_id: RequestId | None = None


class TaskProgress(msgspec.Struct, tag="task.progress", frozen=True, forbid_unknown_fields=True):
    """How the work goes, for everybody to see; resets the progress limit.

    `checkpoint`, up to 64 KiB, is where a later attempt may go on from; over 512 bytes it is kept
    as a blob, as if `checkpoint_blob` had been given. It is answered once on `copies` nodes, with
    its bytes. `published` is false when this word waits.
    """

    handle: Handle
    note: Annotated[str, Meta(max_length=200)] = ""
    done: Annotated[int, Meta(ge=0, le=4_503_599_627_370_496)] | None = None
    total: Annotated[int, Meta(ge=0, le=4_503_599_627_370_496)] | None = None
    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    checkpoint: Base64 | None = None
    checkpoint_blob: Digest | None = None
    copies: Annotated[int, Meta(ge=1, le=8)] = 2
    request_id: RequestId | None = None


class TaskDecline(msgspec.Struct, tag="task.decline", frozen=True, forbid_unknown_fields=True):
    """Not a task for this agent: others get it at once, this node after a back-off."""

    handle: Handle
    reason: Annotated[str, Meta(max_length=600)] = ""
    request_id: RequestId | None = None


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was decided, and why."""

    what: str
    why: str


class TaskOffer(msgspec.Struct, tag="task.offer", frozen=True, forbid_unknown_fields=True):
    """Offer a claim to another agent, or to anyone, with what it has to know.

    The giver stays the owner until somebody accepts. The newest offer stands; with `withdraw` none.
    What the fields take beyond 700 bytes is kept as a blob. `context_blob` names one of the same
    fields, as a JSON object of up to 64 KiB.
    """

    handle: Handle
    to: str | None = None
    agent: Annotated[str, Meta(max_length=64)] = ""
    goal: str = ""
    done: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    caveats: tuple[str, ...] = ()
    context_blob: Digest | None = None
    withdraw: bool = False
    request_id: RequestId | None = None


class TaskAccept(msgspec.Struct, tag="task.accept", frozen=True, forbid_unknown_fields=True):
    """Take over a task that was offered; answers like task.claim, with the context."""

    task: TaskText
    agent: Name = "cli"
    detached: bool = False
    request_id: RequestId | None = None


class TaskRefuse(msgspec.Struct, tag="task.refuse", frozen=True, forbid_unknown_fields=True):
    """Say that this agent does not take what was offered."""

    task: TaskText
    agent: Name = "cli"
    reason: Annotated[str, Meta(max_length=256)] = ""
    request_id: RequestId | None = None


class TaskAsk(msgspec.Struct, tag="task.ask", frozen=True, forbid_unknown_fields=True):
    """Ask a question about a task in hand; the task is input-required until it is answered."""

    handle: Handle
    text: Annotated[str, Meta(min_length=1, max_length=600)]
    limit_s: Seconds | None = None
    request_id: RequestId | None = None


class TaskAnswer(msgspec.Struct, tag="task.answer", frozen=True, forbid_unknown_fields=True):
    """Answer a question, on any node; without `question` the only open one of the task."""

    task: TaskText
    text: Annotated[str, Meta(max_length=600)]
    question: Annotated[str, Meta(max_length=64)] | None = None
    agent: Name = "cli"
    request_id: RequestId | None = None


class TaskAwaitAnswer(
    msgspec.Struct, tag="task.await_answer", frozen=True, forbid_unknown_fields=True
):
    """Wait until a question is answered or timed out."""

    task: TaskText
    question: Annotated[str, Meta(max_length=64)]
    wait_s: Seconds = 3600.0


class TaskReview(msgspec.Struct, tag="task.review", frozen=True, forbid_unknown_fields=True):
    """Accept or refuse the result of a task that wants a second agent; never on its own node."""

    task: TaskText
    accept: bool
    agent: Name = "cli"
    reason: Annotated[str, Meta(max_length=600)] = ""
    request_id: RequestId | None = None


class TaskForceRelease(
    msgspec.Struct, tag="task.force_release", frozen=True, forbid_unknown_fields=True
):
    """Take a task from its owner, on the submitter's node or an admin's."""

    task: TaskText
    reason: Annotated[str, Meta(max_length=256)] = ""
    request_id: RequestId | None = None


class TaskReopen(msgspec.Struct, tag="task.reopen", frozen=True, forbid_unknown_fields=True):
    """Submit a task that is over once more, as a new task that links to it."""

    task: TaskText
    copies: Annotated[int, Meta(ge=1, le=8)] = 2
    request_id: RequestId | None = None


class TaskFence(msgspec.Struct, tag="task.fence", frozen=True, forbid_unknown_fields=True):
    """Whether a token still owns its task, as far as this node knows."""

    task: TaskText
    token: Annotated[str, Meta(max_length=96)]


class TaskCertificate(
    msgspec.Struct, tag="task.certificate", frozen=True, forbid_unknown_fields=True
):
    """The owner's signed claim with all that makes it valid, to be checked offline."""

    task: TaskText


NodeCommand = Hello | NodeStatus | NodeInfo | NodeLeave | NodeIdentity | TaskCertificate
MemberCommand = MemberList | MemberWait
TaskQuery = TaskList | TaskShow | TaskHistory | TaskWait | TaskAwaitAnswer | TaskFence
ExchangeWrite = (
    TaskProgress
    | TaskDecline
    | TaskOffer
    | TaskAccept
    | TaskRefuse
    | TaskAsk
    | TaskAnswer
    | TaskReview
    | TaskForceRelease
    | TaskReopen
)
TaskWrite = (
    AgentAttach
    | TaskSubmit
    | TaskClaim
    | TaskBid
    | TaskResume
    | TaskStart
    | TaskComplete
    | TaskFail
    | TaskRelease
    | TaskCancel
    | ExchangeWrite
)
Command = NodeCommand | MemberCommand | TrustCommand | BlobCommand | TaskQuery | TaskWrite
