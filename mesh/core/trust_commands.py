"""What a control client may ask about who takes part: see `commands`."""

from typing import Annotated

import msgspec
from msgspec import Meta

from mesh.core.command_fields import NodeText, RootText


class TrustInvite(msgspec.Struct, tag="trust.invite", frozen=True, forbid_unknown_fields=True):
    """Make a ticket with which other machines join."""

    uses: Annotated[int, Meta(ge=1, le=10_000)] = 1
    ttl_s: Annotated[float, Meta(ge=1, le=31_536_000)] = 900.0


class TrustInvites(msgspec.Struct, tag="trust.invites", frozen=True, forbid_unknown_fields=True):
    """The tickets that this node has issued and remembers."""


class TrustUninvite(msgspec.Struct, tag="trust.uninvite", frozen=True, forbid_unknown_fields=True):
    """Let a ticket of this node expire now; `ticket` is the start of its id, or the ticket."""

    ticket: Annotated[str, Meta(min_length=4, max_length=2048)]


class TrustPending(msgspec.Struct, tag="trust.pending", frozen=True, forbid_unknown_fields=True):
    """Who has asked this node to be let in, and waits."""


class TrustAdmit(msgspec.Struct, tag="trust.admit", frozen=True, forbid_unknown_fields=True):
    """Let somebody in who waits here; or, with `listen_s`, answer strangers for so long.

    Without `listen_s` only those get an answer who have a ticket or know the mesh id.
    """

    node: NodeText | None = None
    listen_s: Annotated[float, Meta(ge=0, le=86_400)] | None = None


class TrustDeny(msgspec.Struct, tag="trust.deny", frozen=True, forbid_unknown_fields=True):
    """Send somebody off who waits here."""

    node: NodeText


class TrustAdmins(msgspec.Struct, tag="trust.admins", frozen=True, forbid_unknown_fields=True):
    """Who may admit and remove others, and whether the root key is on this node."""


class TrustPromote(msgspec.Struct, tag="trust.promote", frozen=True, forbid_unknown_fields=True):
    """Make a member an admin; needs the root key."""

    node: NodeText
    root: RootText | None = None


class TrustDemote(msgspec.Struct, tag="trust.demote", frozen=True, forbid_unknown_fields=True):
    """An admin is one no more, for good, and stays a member; needs the root key."""

    node: NodeText
    note: Annotated[str, Meta(max_length=64)] = ""
    root: RootText | None = None


class TrustRotate(msgspec.Struct, tag="trust.rotate", frozen=True, forbid_unknown_fields=True):
    """Let the promised next root key be the root from now on; answers with the one after it.

    Without `root` the next key has to be on this node.
    """

    root: RootText | None = None


class RootExport(msgspec.Struct, tag="trust.root_export", frozen=True, forbid_unknown_fields=True):
    """The root key of this node, and the next one, as text to write down."""


class RootLock(msgspec.Struct, tag="trust.root_lock", frozen=True, forbid_unknown_fields=True):
    """Take the root keys off this node's disk; `root` and `next` show that they were kept."""

    root: RootText
    next: RootText


class RootKeep(msgspec.Struct, tag="trust.root_keep", frozen=True, forbid_unknown_fields=True):
    """Put the root key, and the next one if given, back on this node's disk."""

    root: RootText
    next: RootText | None = None


class TrustRemove(msgspec.Struct, tag="trust.remove", frozen=True, forbid_unknown_fields=True):
    """Take a node out of the mesh for good: its key takes part no more.

    What it has said and is known here goes on counting, unless `discard`: then no more of it than
    what claims of others rest on. For an admin the root key is needed: it lies on this node, or is
    given as `root`.
    """

    node: NodeText
    discard: bool = False
    note: Annotated[str, Meta(max_length=64)] = ""
    root: RootText | None = None


AdmissionCommand = (
    TrustInvite | TrustInvites | TrustUninvite | TrustPending | TrustAdmit | TrustDeny
)
RankCommand = TrustRemove | TrustAdmins | TrustPromote | TrustDemote
RootCommand = TrustRotate | RootExport | RootLock | RootKeep
TrustCommand = AdmissionCommand | RankCommand | RootCommand
