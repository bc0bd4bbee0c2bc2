"""The blobs on a simulated disk: whole ones and parts, which a crash may cut short."""

import hashlib
import random
from dataclasses import dataclass, field

from mesh.core.effects import DropBlob, ReadBlob, SealBlob, Storage, WriteBlob
from mesh.core.identity import BlobId
from mesh.core.inputs import BlobFailed, BlobInput, BlobRead, BlobSealed, BlobWritten


@dataclass(slots=True, eq=False)
class BlobDisk:
    """What `mesh.daemon.blob_files` does, in memory."""

    rng: random.Random
    whole: dict[BlobId, bytes] = field(default_factory=dict)
    parts: dict[BlobId, bytes] = field(default_factory=dict)
    free_at_s: float = 0.0
    """Things are done one after the other."""
    full: bool = False

    def begin(self, now_s: float, took_s: float) -> float:
        """Return when something asked for now is done."""
        self.free_at_s = max(self.free_at_s, now_s) + took_s
        return self.free_at_s

    def perform(self, effect: Storage) -> BlobInput | None:
        """Do one thing; returns what the node is told."""
        match effect:
            case WriteBlob(blob, offset, data):
                if self.full:
                    return BlobFailed(blob, "no space left on device")
                before = self.parts.get(blob, b"") if offset else b""
                if len(before) < offset:
                    return BlobFailed(blob, "no such file or directory")
                self.parts[blob] = before[:offset] + data
                return BlobWritten(blob, offset + len(data))
            case SealBlob(blob, size):
                content = self.parts.get(blob, b"")
                digest = hashlib.blake2b(content, digest_size=32).digest()
                if digest != blob or len(content) != size:
                    return BlobSealed(blob, False)
                self.whole[blob] = self.parts.pop(blob)
                return BlobSealed(blob, True)
            case ReadBlob(blob, offset, count):
                held = self.whole.get(blob)
                return BlobRead(blob, None if held is None else held[offset : offset + count])
            case DropBlob(blob):
                self.whole.pop(blob, None)
                self.parts.pop(blob, None)
                return None

    def inventory(self) -> dict[BlobId, tuple[int, bool]]:
        """Return what a node is told at its start."""
        parts = {blob: (len(data), False) for blob, data in self.parts.items()}
        return parts | {blob: (len(data), True) for blob, data in self.whole.items()}

    def crash(self) -> None:
        """Lose the end of what was not sealed."""
        for blob, data in self.parts.items():
            self.parts[blob] = data[: self.rng.randrange(len(data) + 1)]
        self.free_at_s = 0.0

    def destroy(self) -> None:
        """Lose everything."""
        self.whole.clear()
        self.parts.clear()
