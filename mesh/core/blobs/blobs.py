"""Blobs of one node: what clients put in and take out, what peers are sent and send.

The core never holds a blob: bytes pass through it in parts, between the disk (`WriteBlob`,
`ReadBlob`), peers (sealed streams) and clients (lines of the control socket). A blob becomes whole
only when the disk has read it again and its hash is its name.
"""

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice

from mesh.core.blob_commands import BlobCommand, BlobFetch, BlobGet, BlobList, BlobPut
from mesh.core.blobs.fetching import Fetch, Fetching
from mesh.core.blobs.messages import PART_BYTES_MAX, BlobAsk, BlobLacking, BlobPart
from mesh.core.blobs.reading import Asker, Reading, Readings
from mesh.core.blobs.shelf import Shelf
from mesh.core.blobs.spelling import (
    DIGEST_BYTES,
    blob_busy,
    blob_id,
    blob_wrong,
    entered_part,
    not_here,
)
from mesh.core.effects import ClientId, DropBlob, Json, ReadBlob, SealBlob, WriteBlob
from mesh.core.errors import LocalError, Refusal, RemoteError
from mesh.core.identity import BlobId, NodeId, TaskId
from mesh.core.inputs import BlobFailed, BlobInput, BlobRead, BlobSealed, BlobWritten
from mesh.core.instants import NEVER, Instant, Now, later
from mesh.core.outbox import Outbox
from mesh.core.params import BlobParams

READS_MAX = 256
WAITS_MAX = 256
UNMET_TRIED = 16
DROPPED_MAX = 64
DROP_PAUSE_S = 0.02
"""So many files are deleted in one turn: others get theirs when many tasks end together."""
TOLD_PARTS = 16
"""Watchers hear of a transfer once in so many parts."""


@dataclass(slots=True)
class Blobs:
    """All that a node does with blobs."""

    params: BlobParams
    outbox: Outbox
    alive: Callable[[], tuple[NodeId, ...]]
    shelf: Shelf = field(init=False)
    fetching: Fetching = field(init=False)
    counts: dict[str, int] = field(default_factory=dict)
    _puts: dict[BlobId, Asker] = field(default_factory=dict)
    """Uploads whose last part is on its way to the disk."""
    _keeping: dict[BlobId, None] = field(default_factory=dict)
    """What is stored for clients that gave it with another request."""
    _kept: dict[BlobId, LocalError | None] = field(default_factory=dict)
    _reads: Readings = field(default_factory=Readings)
    _waits: dict[Asker, tuple[BlobId, Instant]] = field(default_factory=dict)
    _unmet: "OrderedDict[BlobId, tuple[int, tuple[NodeId, ...]]]" = field(
        default_factory=OrderedDict
    )
    """Blobs that tasks want here and for which there is no room: size, and who should have them."""
    _sealing: dict[BlobId, None] = field(default_factory=dict)
    _drop_at: Instant = Instant(0.0)
    """Nothing is dropped before."""
    _stored: dict[BlobId, tuple[TaskId, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shelf = Shelf(self.params)
        self.fetching = Fetching(self.params, self.alive, self._ask)

    # --- for tasks

    def has(self, blob: BlobId) -> bool:
        """Whether a blob is here as a whole."""
        return self.shelf.has(blob)

    def size(self, blob: BlobId) -> int:
        """Return the size of a blob that is here as a whole; raises LocalError."""
        volume = self.shelf.volumes.get(blob)
        if volume is None or not volume.whole or volume.size is None:
            raise not_here(volume)
        return volume.size

    def want(
        self, now: Now, task: TaskId, named: tuple[BlobId, int], preferred: tuple[NodeId, ...]
    ) -> None:
        """See to it that a blob that a task names comes here, and stays as long as the task."""
        blob, size = named
        self.shelf.use(task, blob)
        self._want(now, blob, size, preferred)

    def _want(self, now: Now, blob: BlobId, size: int, preferred: tuple[NodeId, ...]) -> None:
        if self.has(blob) or blob in self.fetching.fetches or blob in self._puts:
            return
        try:
            self.shelf.reserve(now.instant, blob, size)
        except LocalError as full:
            self.count(full.name)
            if full.name == "blob_quota":
                self._unmet[blob] = (size, preferred)
            return
        self._unmet.pop(blob, None)
        self.fetching.begin(blob, size, preferred)

    def _want_again(self, now: Now) -> None:
        """There is more room than before: want what did not fit, those of longest standing first.

        Only so many are tried, for each may be too large still; it stands at the end then.
        """
        for _ in range(min(len(self._unmet), UNMET_TRIED)):
            blob, (size, preferred) = self._unmet.popitem(last=False)
            if self.shelf.tasks(blob):
                self._want(now, blob, size, preferred)

    def use(self, task: TaskId, blob: BlobId) -> None:
        """A task names a blob: where it is here, it stays as long as the task."""
        self.shelf.use(task, blob)

    def disuse(self, now: Now, task: TaskId, blob: BlobId) -> None:
        """A task names another blob instead: it may go."""
        self.shelf.disuse(now.instant, task, blob)

    def release(self, now: Now, task: TaskId) -> None:
        """A task is let go of."""
        self.shelf.release(now.instant, task)

    def lacking(self, named: tuple[bytes, int] | None) -> dict[BlobId, bool]:
        """Return a blob that is named and not here, and whether it is on its way."""
        blob = None if named is None else BlobId(named[0])
        return {} if blob is None or self.has(blob) else {blob: blob in self.fetching.fetches}

    def take_stored(self) -> dict[BlobId, tuple[TaskId, ...]]:
        """Remove and return the blobs that have come since, with the tasks that name them."""
        stored, self._stored = self._stored, {}
        return stored

    def keep(self, now: Now, data: bytes) -> BlobId:
        """Store the bytes of a client; `take_kept` tells when that is done. Raises LocalError."""
        blob = BlobId(blake2b(data, digest_size=DIGEST_BYTES).digest())
        if self.has(blob) or blob in self._keeping:
            self.shelf.touch(now.instant, blob)
            return blob
        if blob in self._puts:
            raise blob_busy()
        self.shelf.reserve(now.instant, blob, len(data))
        self._keeping[blob] = None
        if blob not in self._sealing:
            self.fetching.end(blob)
            self.outbox.put(WriteBlob(blob, 0, data))
        return blob

    def take_kept(self) -> dict[BlobId, LocalError | None]:
        """Remove and return what was stored since, or cannot be, and why."""
        kept, self._kept = self._kept, {}
        return kept

    def count(self, name: str, by: int = 1) -> None:
        """Count something."""
        self.counts[name] = self.counts.get(name, 0) + by

    def counters(self) -> dict[str, int]:
        """Return what happened so far, and what is here."""
        return self.counts | {
            "blobs": len(self.shelf.volumes),
            "blob_bytes": self.shelf.room,
            "blob_fetches": len(self.fetching.fetches),
        }

    # --- clients

    def handle_command(self, now: Now, asker: Asker, command: BlobCommand) -> None:
        """Answer a client, now or later; raises LocalError."""
        match command:
            case BlobPut():
                self._put(now, asker, command)
            case BlobGet():
                self._get(asker, command)
            case BlobFetch():
                self._fetch(now, asker, command)
            case BlobList():
                shown = islice(self.shelf.volumes, command.skip, command.skip + command.limit)
                body: dict[str, Json] = {"v": 1, "blobs": [self._view(blob) for blob in shown]}
                self._reply(asker, body | {"total": len(self.shelf.volumes)})

    def handle_client_gone(self, client: ClientId) -> None:
        """Nobody waits for these answers any more; what was put in stays for who goes on."""
        self._waits = {asker: wait for asker, wait in self._waits.items() if asker[0] != client}

    def _put(self, now: Now, asker: Asker, command: BlobPut) -> None:
        blob, data = blob_id(command.digest), entered_part(command.data)
        if blob in self._puts or blob in self._keeping:
            raise blob_busy()
        volume = self.shelf.reserve(now.instant, blob, command.size)
        if volume.whole or command.offset != volume.have or not data:
            self._reply(asker, self._view(blob))
            return
        if volume.have + len(data) > command.size:
            raise LocalError("blob_size", "more bytes than the size says", "check the size")
        self.fetching.end(blob)
        self._puts[blob] = asker
        self.outbox.put(WriteBlob(blob, volume.have, data))

    def _get(self, asker: Asker, command: BlobGet) -> None:
        blob = blob_id(command.digest)
        size = self.size(blob)
        count = max(0, min(command.count, size - command.offset))
        self._read(blob, count, Reading(command.offset, None, asker))

    def _fetch(self, now: Now, asker: Asker, command: BlobFetch) -> None:
        blob = blob_id(command.digest)
        if self.has(blob):
            self._reply(asker, self._view(blob))
            return
        if len(self._waits) >= WAITS_MAX:
            raise LocalError("busy", f"{WAITS_MAX} clients wait for blobs already", "try again")
        self.shelf.reserve(now.instant, blob, command.size)
        self.shelf.touch(now.instant, blob)
        if blob not in self._puts:
            self.fetching.begin(blob, command.size, ())
        self._waits[asker] = (blob, later(now.instant, command.wait_s))

    def _view(self, blob: BlobId) -> dict[str, Json]:
        volume = self.shelf.volumes[blob]
        return {
            "digest": blob.hex(),
            "size": volume.size,
            "stored": volume.have,
            "complete": volume.whole,
            "tasks": len(self.shelf.tasks(blob)),
        }

    def _reply(self, asker: Asker, result: Json) -> None:
        self.outbox.reply(asker.client, asker.request, result)

    def _refuse(self, asker: Asker, error: LocalError) -> None:
        self.outbox.refuse(asker.client, asker.request, error)

    # --- peers

    def handle_message(self, now: Now, peer: NodeId, kind: int, body: bytes) -> None:
        """Take a message of a peer; raises RemoteError."""
        if kind == BlobAsk.KIND:
            self._handle_ask(peer, BlobAsk.decode_untrusted(body))
        elif kind == BlobPart.KIND:
            self._handle_part(now, peer, BlobPart.decode_untrusted(body))
        elif kind == BlobLacking.KIND:
            lacking = BlobLacking.decode_untrusted(body)
            self.fetching.handle_lacking(now.instant, peer, BlobId(lacking.blob))
        else:
            raise RemoteError(Refusal.MALFORMED, f"blobs know no message {kind}")

    def _ask(self, peer: NodeId, ask: BlobAsk) -> None:
        self.outbox.send_bulk(peer, ask.KIND, ask.encode())

    def _handle_ask(self, peer: NodeId, ask: BlobAsk) -> None:
        blob = BlobId(ask.blob)
        volume = self.shelf.volumes.get(blob)
        end = ask.offset + min(ask.count, self.params.window_parts * PART_BYTES_MAX)
        if volume is None or not volume.whole or volume.size is None or end > volume.size:
            self.outbox.send_bulk(peer, BlobLacking.KIND, BlobLacking(blob).encode())
            return
        for offset in range(ask.offset, end, PART_BYTES_MAX):
            if len(self._reads) >= READS_MAX:
                self.count("blob_reads_refused")
                return
            count = min(PART_BYTES_MAX, end - offset)
            self._read(blob, count, Reading(offset, peer, None))

    def _read(self, blob: BlobId, count: int, reading: Reading) -> None:
        self._reads.add(blob, reading)
        self.outbox.put(ReadBlob(blob, reading.offset, count))

    def _handle_part(self, now: Now, peer: NodeId, part: BlobPart) -> None:
        blob = BlobId(part.blob)
        fetch = self.fetching.takes(peer, blob, part.offset, len(part.data))
        if fetch is None or part.size != fetch.size:
            self.count("blob_parts_unasked")
            return
        fetch.received += len(part.data)
        fetch.gained = True
        fetch.due = later(now.instant, self.params.patience_s)
        self.count("blob_bytes_received", len(part.data))
        self.outbox.put(WriteBlob(blob, part.offset, part.data))

    # --- the disk

    def handle_disk(self, now: Now, event: BlobInput) -> None:
        """The disk has done something that it was asked for, or failed to."""
        match event:
            case BlobWritten(blob, have):
                self._handle_written(now, BlobId(blob), have)
            case BlobSealed(blob, whole):
                self._handle_sealed(now, BlobId(blob), whole=whole)
            case BlobRead(blob, data):
                self._handle_read(BlobId(blob), data)
            case BlobFailed(blob, reason):
                self._handle_failed(now, BlobId(blob), reason)

    def _handle_written(self, now: Now, blob: BlobId, have: int) -> None:
        volume = self.shelf.volumes.get(blob)
        if volume is None or volume.size is None:
            return
        self.shelf.grow(volume, have)
        if have >= volume.size:
            self._sealing[blob] = None
            self.outbox.put(SealBlob(blob, volume.size))
            return
        asker, fetch = self._puts.pop(blob, None), self.fetching.fetches.get(blob)
        if asker is not None:
            self._reply(asker, self._view(blob))
            self._fetch_rest(now, blob)
        elif fetch is not None:
            self.fetching.go_on(now.instant, fetch, have)
            if fetch.source is None and have >= fetch.received:
                fetch.due = now.instant
            if have // PART_BYTES_MAX % TOLD_PARTS == 0:
                self.outbox.notify("blob", self._view(blob))

    def _fetch_rest(self, now: Now, blob: BlobId) -> None:
        """A client that puts in what others want may stop half-way, or fail: then it is fetched."""
        size = self.shelf.volumes[blob].size
        if size is None or blob in self.fetching.fetches:
            return
        if self.shelf.tasks(blob) or any(wanted == blob for wanted, _ in self._waits.values()):
            self.fetching.begin(blob, size, ())
            self.fetching.fetches[blob].due = later(now.instant, self.params.patience_s)

    def _handle_sealed(self, now: Now, blob: BlobId, *, whole: bool) -> None:
        self._sealing.pop(blob, None)
        volume, asker = self.shelf.volumes.get(blob), self._puts.pop(blob, None)
        if volume is None:
            return
        volume.whole = whole
        if whole:
            self.count("blobs_stored")
            self.fetching.end(blob)
            self._stored[blob] = self.shelf.tasks(blob)
            self.outbox.notify("blob", self._view(blob))
            self._answer_waits(blob)
        else:
            self.shelf.grow(volume, 0)
            self.count("blobs_wrong")
            self.outbox.put(DropBlob(blob))
            self.fetching.handle_wrong(now.instant, blob)
            self._fetch_rest(now, blob)
        error = None if whole else blob_wrong()
        self._note_kept(blob, error)
        if asker is not None and error is None:
            self._reply(asker, self._view(blob))
        elif asker is not None and error is not None:
            self._refuse(asker, error)

    def _note_kept(self, blob: BlobId, error: LocalError | None) -> None:
        if blob in self._keeping:
            del self._keeping[blob]
            self._kept[blob] = error

    def _answer_waits(self, blob: BlobId) -> None:
        for asker in [asker for asker, wait in self._waits.items() if wait[0] == blob]:
            del self._waits[asker]
            self._reply(asker, self._view(blob))

    def _handle_read(self, blob: BlobId, data: bytes | None) -> None:
        reading = self._reads.take(blob)
        volume = self.shelf.volumes.get(blob)
        if reading is None:
            return
        if volume is None or volume.size is None or not data:
            self._lack(blob, reading)
        elif reading.peer is not None:
            part = BlobPart(blob, volume.size, reading.offset, data)
            self.count("blob_bytes_sent", len(data))
            self.outbox.send_bulk(reading.peer, part.KIND, part.encode())
        elif reading.asker is not None:
            encoded = b64encode(data).decode()
            self._reply(
                reading.asker, {"data": encoded, "offset": reading.offset, "size": volume.size}
            )

    def _lack(self, blob: BlobId, reading: Reading) -> None:
        self.count("blob_reads_failed")
        if reading.peer is not None:
            self.outbox.send_bulk(reading.peer, BlobLacking.KIND, BlobLacking(blob).encode())
        elif reading.asker is not None:
            self._refuse(reading.asker, not_here(None))

    def _handle_failed(self, now: Now, blob: BlobId, reason: str) -> None:
        self.count("blob_disk_errors")
        error = LocalError(
            "blob_disk", f"the disk does not do it: {reason}", "free space or repair it, try again"
        )
        asker = self._puts.pop(blob, None)
        self._sealing.pop(blob, None)
        self._note_kept(blob, error)
        if asker is not None:
            self._refuse(asker, error)
        fetch, volume = self.fetching.fetches.get(blob), self.shelf.volumes.get(blob)
        if volume is not None and not volume.whole:
            self.shelf.grow(volume, 0)
            self.outbox.put(DropBlob(blob))
            if fetch is not None:
                fetch.received = fetch.asked = 0
                self.fetching.rest(now.instant, fetch)
            self._fetch_rest(now, blob)

    # --- time

    def handle_timeout(self, now: Now) -> None:
        """Ask who is to be asked, refuse who has waited long enough, drop what nobody needs."""
        for asker, (blob, deadline) in list(self._waits.items()):
            if deadline <= now.instant:
                del self._waits[asker]
                self._refuse(asker, not_here(self.shelf.volumes.get(blob), "timed_out"))
        self._drop_idle(now)
        self.fetching.wake(now.instant)
        # Whoever leaves the few that are under way makes place for another, who is due as well.
        while due := [fetch for fetch in self._asking() if fetch.due <= now.instant]:
            for fetch in due:
                self._go_on(now, fetch.blob)

    def _asking(self) -> list[Fetch]:
        return [fetch for fetch in self.fetching.under_way() if fetch.blob not in self._sealing]

    def _drop_idle(self, now: Now) -> None:
        if now.instant < self._drop_at:
            return
        idle = self.shelf.idle(now.instant, DROPPED_MAX)
        if len(idle) == DROPPED_MAX:
            self._drop_at = later(now.instant, DROP_PAUSE_S)
        for blob in idle:
            if blob in self._puts or blob in self._sealing or blob in self._keeping:
                self.shelf.touch(now.instant, blob)
                continue
            self.fetching.end(blob)
            self.shelf.drop(blob)
            self.outbox.put(DropBlob(blob))
            self.count("blobs_dropped")
        if idle:
            self._want_again(now)

    def settle(self, now: Now) -> None:
        """Ask at once for what has come to be wanted during one input."""
        if not self.fetching.fetches:
            return
        while fresh := [
            fetch for fetch in self._asking() if fetch.source is None and fetch.due <= now.instant
        ]:
            for fetch in fresh:
                self._go_on(now, fetch.blob)

    def handle_cut(self, now: Now, peer: NodeId) -> None:
        """The connection to a peer broke."""
        self.fetching.handle_cut(now.instant, peer)

    def handle_arrivals(self, now: Now) -> None:
        """Somebody has come: what nobody had may be there."""
        self.fetching.wake(now.instant, everything=True)

    def _go_on(self, now: Now, blob: BlobId) -> None:
        fetch, volume = self.fetching.fetches[blob], self.shelf.volumes[blob]
        if fetch.source is not None and fetch.received > volume.have:
            self.count("blob_disk_waits")
        self.fetching.handle_silence(now.instant, fetch, volume.have)
        if volume.have >= fetch.size and not volume.whole:
            # Everything was here before a restart, but nobody had looked at it.
            self._sealing[blob] = None
            self.outbox.put(SealBlob(blob, fetch.size))

    def next_deadline(self) -> Instant:
        """Return when something is due."""
        if not (self._waits or self.shelf.volumes):
            return NEVER  # what is fetched has its volume
        ends = (deadline for _, deadline in self._waits.values())
        due = (fetch.due for fetch in self._asking())
        idle = max(self.shelf.next_idle(), self._drop_at)
        return min((*ends, *due, self.fetching.next_wake(), idle))
