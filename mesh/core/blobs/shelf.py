"""Which blobs are on this disk, whole or in part, how much room they take, and who needs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.core.errors import LocalError
from mesh.core.identity import BlobId, TaskId
from mesh.core.instants import Instant, later
from mesh.core.params import BlobParams

Inventory = Mapping[BlobId, tuple[int, bool]]
"""What the disk holds at a start: bytes, and whether that is the whole blob."""
MEBIBYTE = 1 << 20


@dataclass(slots=True)
class Volume:
    """One blob, as far as it is here."""

    size: int | None
    """None: a part from before a restart, of which nobody has said yet how long the whole is."""
    have: int = 0
    whole: bool = False
    idle_since: Instant = Instant(0.0)
    """Since when no task needs it."""
    users: dict[TaskId, None] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """How many bytes it takes, or will take."""
        return max(self.have, self.size or 0)


@dataclass(slots=True)
class Shelf:
    """All blobs of a node; raises LocalError for what is too large or does not fit any more."""

    params: BlobParams
    volumes: dict[BlobId, Volume] = field(default_factory=dict)
    _users: dict[TaskId, dict[BlobId, None]] = field(default_factory=dict)

    def restore(self, inventory: Inventory) -> None:
        """Take back what the disk holds."""
        for blob, (have, whole) in inventory.items():
            self.volumes[blob] = Volume(have if whole else None, have, whole)

    @property
    def room(self) -> int:
        """How many bytes are taken or promised."""
        return sum(volume.room for volume in self.volumes.values())

    def has(self, blob: BlobId) -> bool:
        """Whether a blob is here as a whole."""
        volume = self.volumes.get(blob)
        return volume is not None and volume.whole

    def reserve(self, now: Instant, blob: BlobId, size: int) -> Volume:
        """Return the place of a blob of this size, which is made if there is none."""
        if not 0 < size <= self.params.blob_bytes_max:
            raise LocalError(
                "blob_too_large",
                f"{size} bytes: a blob has 1 to {self.params.blob_bytes_max} "
                f"({self.params.blob_bytes_max // MEBIBYTE} MiB)",
                "split it, or put it where agents can fetch it and send its address",
            )
        volume = self.volumes.get(blob)
        if volume is not None and volume.size not in {None, size}:
            raise LocalError(
                "blob_size", f"this blob has {volume.size} bytes, not {size}", "check the digest"
            )
        taken = self.room - (0 if volume is None else volume.room)
        if taken + size > self.params.quota_bytes:
            raise LocalError(
                "blob_quota",
                f"{taken} of {self.params.quota_bytes} bytes for blobs are taken on this node, "
                f"{size} more do not fit",
                "wait until finished tasks are forgotten, or keep them for less time",
            )
        if volume is None and len(self.volumes) >= self.params.blobs_max:
            raise LocalError(
                "blob_quota",
                f"{len(self.volumes)} blobs are on this node, one more does not fit",
                "wait until finished tasks are forgotten, or keep them for less time",
            )
        if volume is None:
            volume = self.volumes[blob] = Volume(size, idle_since=now)
        volume.size = size
        return volume

    def use(self, task: TaskId, blob: BlobId) -> None:
        """A task needs a blob, whether it is here by now or not."""
        self._users.setdefault(task, {})[blob] = None
        volume = self.volumes.get(blob)
        if volume is not None:
            volume.users[task] = None

    def disuse(self, now: Instant, task: TaskId, blob: BlobId) -> None:
        """A task needs a blob no longer."""
        self._users.get(task, {}).pop(blob, None)
        volume = self.volumes.get(blob)
        if volume is not None:
            volume.users.pop(task, None)
            volume.idle_since = now

    def adopt(self, blob: BlobId) -> None:
        """Let the tasks that needed a blob before it came be its users."""
        for task, blobs in self._users.items():
            if blob in blobs:
                self.volumes[blob].users[task] = None

    def release(self, now: Instant, task: TaskId) -> None:
        """A task is let go of."""
        for blob in self._users.pop(task, {}):
            volume = self.volumes.get(blob)
            if volume is not None:
                volume.users.pop(task, None)
                volume.idle_since = now

    def idle(self, now: Instant) -> list[BlobId]:
        """Return the blobs that nobody has needed for long."""
        return [blob for blob, volume in self.volumes.items() if self._idle_at(volume) <= now]

    def next_idle(self) -> Instant:
        """Return when the next blob has been needed by nobody for long."""
        ends = [self._idle_at(volume) for volume in self.volumes.values()]
        return min(ends, default=Instant(float("inf")))

    def _idle_at(self, volume: Volume) -> Instant:
        if volume.users:
            return Instant(float("inf"))
        return later(volume.idle_since, self.params.unused_keep_s)
