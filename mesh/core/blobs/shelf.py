"""Which blobs are on this disk, whole or in part, how much room they take, and who needs them.

A turn of the node touches only the blobs that it is about, however many there are: the room that
is taken is a running total, who needs a blob is found by the blob, and those that nobody needs
stand in the order in which that began.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.core.errors import LocalError
from mesh.core.identity import BlobId, TaskId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.params import BlobParams

Inventory = Mapping[BlobId, tuple[int, bool]]
"""What the disk holds at a start: bytes, and whether that is the whole blob."""
MEBIBYTE = 1 << 20


@dataclass(slots=True)
class Volume:
    """One blob, as far as it is here; its numbers are changed by the shelf alone."""

    size: int | None
    """None: a part from before a restart, of which nobody has said yet how long the whole is."""
    have: int = 0
    whole: bool = False

    @property
    def room(self) -> int:
        """How many bytes it takes, or will take."""
        return max(self.have, self.size or 0)


@dataclass(slots=True)
class Shelf:
    """All blobs of a node; raises LocalError for what is too large or does not fit any more."""

    params: BlobParams
    volumes: dict[BlobId, Volume] = field(default_factory=dict)
    room: int = 0
    """How many bytes are taken or promised."""
    _blobs: dict[TaskId, dict[BlobId, None]] = field(default_factory=dict)
    """What a task needs, whether it is here by now or not."""
    _tasks: dict[BlobId, dict[TaskId, None]] = field(default_factory=dict)
    """The same by blob."""
    _idle: "OrderedDict[BlobId, Instant]" = field(default_factory=OrderedDict)
    """The blobs here that no task needs, and since when: those of longest standing first."""

    def restore(self, now: Instant, inventory: Inventory) -> None:
        """Take back what the disk holds."""
        for blob, (have, whole) in inventory.items():
            self._add(now, blob, Volume(have if whole else None, have, whole))

    def _add(self, now: Instant, blob: BlobId, volume: Volume) -> None:
        self.volumes[blob] = volume
        self.room += volume.room
        self._note_idle(now, blob)

    def _note_idle(self, now: Instant, blob: BlobId) -> None:
        if blob in self.volumes and blob not in self._tasks:
            self._idle[blob] = now

    def has(self, blob: BlobId) -> bool:
        """Whether a blob is here as a whole."""
        volume = self.volumes.get(blob)
        return volume is not None and volume.whole

    def tasks(self, blob: BlobId) -> tuple[TaskId, ...]:
        """Return the tasks that need a blob."""
        return tuple(self._tasks.get(blob, ()))

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
            volume = Volume(size)
            self._add(now, blob, volume)
        else:
            self._change(volume, size, volume.have)
        return volume

    def grow(self, volume: Volume, have: int) -> None:
        """So many bytes of a blob are here now."""
        self._change(volume, volume.size, have)

    def _change(self, volume: Volume, size: int | None, have: int) -> None:
        before = volume.room
        volume.size, volume.have = size, have
        self.room += volume.room - before

    def drop(self, blob: BlobId) -> None:
        """A blob is here no longer, or what there was of it."""
        self.room -= self.volumes.pop(blob).room
        self._idle.pop(blob, None)

    def use(self, task: TaskId, blob: BlobId) -> None:
        """A task needs a blob, whether it is here by now or not."""
        self._blobs.setdefault(task, {})[blob] = None
        self._tasks.setdefault(blob, {})[task] = None
        self._idle.pop(blob, None)

    def disuse(self, now: Instant, task: TaskId, blob: BlobId) -> None:
        """A task needs a blob no longer."""
        blobs = self._blobs.get(task, {})
        if blob not in blobs:
            return
        del blobs[blob]
        if not blobs:
            del self._blobs[task]
        del self._tasks[blob][task]
        if not self._tasks[blob]:
            del self._tasks[blob]
            self._note_idle(now, blob)

    def release(self, now: Instant, task: TaskId) -> None:
        """A task is let go of."""
        for blob in tuple(self._blobs.get(task, ())):
            self.disuse(now, task, blob)

    def idle(self, now: Instant, most: int) -> list[BlobId]:
        """Return some of the blobs that nobody has needed for long."""
        due: list[BlobId] = []
        for blob, since in self._idle.items():
            if later(since, self.params.unused_keep_s) > now or len(due) == most:
                break
            due.append(blob)
        return due

    def touch(self, now: Instant, blob: BlobId) -> None:
        """Somebody is at work on a blob that no task needs: it is not idle yet."""
        if blob in self._idle:
            self._idle[blob] = now
            self._idle.move_to_end(blob)

    def next_idle(self) -> Instant:
        """Return when the next blob has been needed by nobody for long."""
        for since in self._idle.values():
            return later(since, self.params.unused_keep_s)
        return NEVER
