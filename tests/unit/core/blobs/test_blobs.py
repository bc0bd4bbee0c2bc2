"""Many blobs: a turn touches few, none waits for what nobody has, none is lost."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

import mesh.core.blobs as package
from mesh.core.blob_commands import BlobList, BlobPut
from mesh.core.blobs.blobs import DROPPED_MAX, Blobs
from mesh.core.blobs.messages import PART_BYTES_MAX, BlobAsk, BlobLacking, BlobPart
from mesh.core.blobs.reading import Asker
from mesh.core.effects import ClientId, DropBlob, Reply, SealBlob, WriteBlob
from mesh.core.identity import BlobId, NodeId, TaskId
from mesh.core.inputs import BlobFailed, BlobSealed, BlobWritten
from mesh.core.instants import Instant, Now, WallTime, later
from mesh.core.outbox import Outbox
from mesh.core.params import BlobParams
from tests.unit.core.blobs.pieces import content, name_of
from tests.unit.core.effort import Effort

A, B = NodeId(b"a" * 16), NodeId(b"b" * 16)
PARAMS = BlobParams()


def blob_of(number: int) -> BlobId:
    return BlobId(number.to_bytes(32, "big"))


def task_of(number: int) -> TaskId:
    return TaskId(number.to_bytes(16, "big"))


class Yard:
    """The blobs of a node, with peers that answer as they are told to."""

    def __init__(self, params: BlobParams = PARAMS, peers: tuple[NodeId, ...] = (A,)) -> None:
        self.peers, self.instant = peers, Instant(100.0)
        self.outbox = Outbox()
        self.blobs = Blobs(params, self.outbox, lambda: self.peers)
        self.sources: dict[BlobId, NodeId] = {}
        """Who has a blob; the others lack it."""
        self.disk_is_full = False
        self.asks = 0

    @property
    def now(self) -> Now:
        return Now(self.instant, WallTime(0.0))

    def fill(self, count: int) -> None:
        """Put so many whole blobs of one byte on the shelf, every other one for a task."""
        self.blobs.shelf.restore(self.instant, {blob_of(n): (1, True) for n in range(count)})
        for number in range(0, count, 2):
            self.blobs.use(task_of(number), blob_of(number))

    def want(self, number: int, size: int = 1, preferred: tuple[NodeId, ...] = ()) -> None:
        self.blobs.want(self.now, task_of(number), (blob_of(number), size), preferred)
        self.blobs.settle(self.now)

    def run(self, seconds: float) -> None:
        """Let time pass, and everybody answer."""
        end = later(self.instant, seconds)
        while True:
            self.answer()
            due = self.blobs.next_deadline()
            if due > end:
                break
            self.instant = max(self.instant, due)
            self.blobs.handle_timeout(self.now)
            assert self.blobs.next_deadline() > self.instant, "it spins"
        self.instant = end

    def answer(self) -> None:
        """Let the peers and the disk do what they are asked for."""
        while self.outbox.bulk or self.outbox.effects:
            bulk, self.outbox.bulk = self.outbox.bulk, {}
            effects, self.outbox.effects = self.outbox.effects, []
            for peer, messages in bulk.items():
                for _, body in messages:
                    self._answer_peer(peer, BlobAsk.decode_untrusted(body))
            for effect in effects:
                self._answer_disk(effect)
            self.blobs.settle(self.now)

    def _answer_peer(self, peer: NodeId, ask: BlobAsk) -> None:
        self.asks += 1
        blob, size = BlobId(ask.blob), self.blobs.fetching.fetches[BlobId(ask.blob)].size
        if self.sources.get(blob) != peer:
            lacking = BlobLacking(blob)
            self.blobs.handle_message(self.now, peer, lacking.KIND, lacking.encode())
            return
        for offset in range(ask.offset, ask.offset + ask.count, PART_BYTES_MAX):
            count = min(PART_BYTES_MAX, ask.offset + ask.count - offset)
            part = BlobPart(blob, size, offset, bytes(count))
            self.blobs.handle_message(self.now, peer, part.KIND, part.encode())

    def _answer_disk(self, effect: object) -> None:
        if isinstance(effect, WriteBlob) and self.disk_is_full:
            self.blobs.handle_disk(self.now, BlobFailed(effect.blob, "no space left on device"))
        elif isinstance(effect, WriteBlob):
            have = effect.offset + len(effect.data)
            self.blobs.handle_disk(self.now, BlobWritten(effect.blob, have))
        elif isinstance(effect, SealBlob):
            self.blobs.handle_disk(self.now, BlobSealed(effect.blob, True))

    def has(self, *numbers: int) -> bool:
        return all(self.blobs.has(blob_of(number)) for number in numbers)


def effort_of_turns(count: int) -> int:
    """Return how many lines it takes to do one of everything beside so many blobs."""
    yard = Yard()
    yard.fill(count)
    yard.sources[blob_of(count)] = A
    with Effort(package.__path__[0]) as effort:
        yard.want(count, 3 * PART_BYTES_MAX)
        yard.run(60.0)
        yard.blobs.disuse(yard.now, task_of(0), blob_of(0))
        yard.blobs.release(yard.now, task_of(2))
        yard.blobs.counters()
        yard.run(60.0)
    assert yard.has(count)
    return effort.lines


def test_a_turn_takes_no_more_work_beside_ten_thousand_blobs() -> None:
    assert effort_of_turns(10_000) == effort_of_turns(10)


def test_what_nobody_needs_goes_after_its_time_and_the_rest_stays() -> None:
    yard = Yard(replace(PARAMS, unused_keep_s=10.0))
    yard.fill(4)
    yard.instant = later(yard.instant, 5.0)
    yard.blobs.release(yard.now, task_of(2))
    yard.run(6.0)
    assert [yard.has(number) for number in range(4)] == [True, False, True, False]
    yard.run(6.0)
    assert [yard.has(number) for number in range(4)] == [True, False, False, False]


def test_blobs_that_nobody_has_hold_up_no_other() -> None:
    yard = Yard(peers=(A, B))
    for number in range(PARAMS.fetches_max + 3):
        yard.want(number)
    yard.run(1.0)
    yard.sources[blob_of(100)] = B
    yard.want(100)
    yard.run(1.0)
    assert yard.has(100)
    yard.sources |= {blob_of(number): B for number in range(PARAMS.fetches_max + 3)}
    yard.run(10 * PARAMS.retry_s)
    assert yard.has(*range(PARAMS.fetches_max + 3)), "and they are asked for again"


def test_a_thousand_blobs_that_nobody_has_are_asked_for_no_more_often_than_four() -> None:
    yard = Yard()
    for number in range(1000):
        yard.want(number)
    yard.run(1.0)
    assert yard.asks == 1000, "once each, to begin with"
    yard.run(20 * PARAMS.retry_s)
    assert 1000 + 10 * PARAMS.fetches_max < yard.asks <= 1000 + 20 * PARAMS.fetches_max


def test_whoever_comes_is_asked_at_once_for_what_nobody_had() -> None:
    yard = Yard()
    for number in range(50):
        yard.want(number)
        yard.sources[blob_of(number)] = B
    yard.run(1.0)
    yard.peers = (A, B)
    yard.blobs.handle_arrivals(yard.now)
    yard.blobs.settle(yard.now)
    yard.run(0.0)
    assert yard.has(*range(50))


def test_what_found_no_room_comes_once_there_is_some() -> None:
    yard = Yard(replace(PARAMS, quota_bytes=10_000, unused_keep_s=10.0))
    for number, size in ((1, 8000), (2, 9000), (3, 5000), (4, 4000)):
        yard.sources[blob_of(number)] = A
        yard.want(number, size)
    yard.run(60.0)
    assert yard.has(1)
    assert not any(map(yard.has, (2, 3, 4)))
    yard.blobs.release(yard.now, task_of(3))
    yard.blobs.release(yard.now, task_of(1))
    yard.run(60.0)
    assert yard.has(2)
    yard.blobs.release(yard.now, task_of(2))
    yard.run(60.0)
    assert yard.has(4)
    assert not yard.has(3), "its task has been let go of"


@pytest.mark.parametrize("size", [1, PART_BYTES_MAX, 9 * PART_BYTES_MAX + 1])
def test_a_full_disk_loses_nothing(size: int) -> None:
    yard = Yard(peers=(A, B))
    yard.sources[blob_of(1)] = B
    yard.disk_is_full = True
    yard.want(1, size)
    yard.run(60.0)
    assert not yard.has(1)
    yard.disk_is_full = False
    yard.run(2 * PARAMS.retry_s)
    assert yard.has(1)


def test_an_idle_blob_that_makes_place_for_the_next_does_not_stop_the_clock() -> None:
    yard = Yard(replace(PARAMS, fetches_max=1, unused_keep_s=1.0, patience_s=5.0))
    yard.blobs.use(task_of(2), blob_of(2))
    for number in (1, 2):
        yard.want(number)
    yard.outbox.bulk.clear()
    yard.blobs.release(yard.now, task_of(1))
    yard.sources[blob_of(2)] = A
    yard.run(3.0)
    assert yard.has(2)
    assert blob_of(1) not in yard.blobs.shelf.volumes


def test_what_is_dropped_is_deleted() -> None:
    yard = Yard(replace(PARAMS, unused_keep_s=1.0))
    yard.fill(2)
    yard.instant = later(yard.instant, 2.0)
    yard.blobs.handle_timeout(yard.now)
    assert [e for e in yard.outbox.effects if isinstance(e, DropBlob)] == [DropBlob(blob_of(1))]


def test_bytes_of_a_client_are_kept_and_it_is_told_once() -> None:
    yard = Yard(peers=())
    data = content(60_000)
    blob = yard.blobs.keep(yard.now, data)
    assert (blob, yard.blobs.keep(yard.now, data)) == (name_of(data), name_of(data))
    assert yard.blobs.take_kept() == {}
    assert len(yard.outbox.effects) == 1, "it is written once"
    yard.answer()
    assert yard.blobs.take_kept() == {blob: None}
    assert yard.blobs.take_kept() == {}
    assert yard.blobs.keep(yard.now, data) == blob
    assert not yard.outbox.effects
    assert yard.blobs.has(blob)


def test_bytes_of_a_client_that_the_disk_does_not_take_are_refused() -> None:
    yard = Yard(peers=())
    yard.disk_is_full = True
    blob = yard.blobs.keep(yard.now, content(600))
    yard.answer()
    (error,) = yard.blobs.take_kept().values()
    assert error is not None
    assert (error.name, "no space" in error.message) == ("blob_disk", True)
    yard.disk_is_full = False
    yard.blobs.keep(yard.now, content(600))
    yard.answer()
    assert yard.blobs.take_kept() == {blob: None}


def test_bytes_of_a_client_end_the_fetch_of_the_same() -> None:
    yard = Yard()
    data = content(3 * PART_BYTES_MAX)
    yard.blobs.want(yard.now, task_of(1), (name_of(data), len(data)), ())
    yard.blobs.settle(yard.now)
    assert yard.blobs.keep(yard.now, data) == name_of(data)
    yard.outbox.bulk.clear()
    yard.answer()
    assert yard.blobs.has(name_of(data))
    assert yard.blobs.take_stored() == {name_of(data): (task_of(1),)}
    assert not yard.blobs.fetching.fetches


def test_many_that_nobody_needs_any_more_go_a_few_in_a_turn() -> None:
    yard = Yard(replace(PARAMS, unused_keep_s=1.0))
    yard.fill(1000)
    yard.instant = later(yard.instant, 2.0)
    yard.blobs.handle_timeout(yard.now)
    assert len(yard.outbox.effects) == DROPPED_MAX
    yard.run(1.0)
    assert len(yard.blobs.shelf.volumes) == 500


def test_a_long_list_is_told_in_pages() -> None:
    yard = Yard()
    yard.fill(2500)
    told: list[str] = []
    for skip in range(0, 3000, 1000):
        yard.blobs.handle_command(yard.now, Asker(ClientId(1), skip), BlobList(skip))
        (reply,) = yard.outbox.effects
        yard.outbox.effects.clear()
        assert isinstance(reply, Reply)
        body: Any = reply.result
        assert body["total"] == 2500
        told += [view["digest"] for view in body["blobs"]]
    assert told == [blob_of(number).hex() for number in range(2500)]


def test_what_a_client_begins_to_put_in_and_others_want_is_fetched_when_it_stops() -> None:
    yard = Yard()
    data = content(3 * PART_BYTES_MAX)
    yard.sources[name_of(data)] = A
    yard.blobs.use(task_of(1), name_of(data))
    piece = b64encode(data[:PART_BYTES_MAX]).decode()
    put = BlobPut(name_of(data).hex(), len(data), 0, piece)
    yard.blobs.handle_command(yard.now, Asker(ClientId(1), 1), put)
    yard.answer()
    assert yard.asks == 0, "it may go on by itself"
    yard.run(60.0)
    assert yard.blobs.has(name_of(data))


@pytest.mark.parametrize("is_wrong", [False, True])
def test_what_a_client_fails_to_put_in_and_a_task_wants_is_fetched(is_wrong: bool) -> None:
    yard = Yard()
    data = content(PART_BYTES_MAX)
    blob = name_of(data)
    yard.sources[blob] = A
    yard.blobs.want(yard.now, task_of(1), (blob, len(data)), ())
    put = BlobPut(blob.hex(), len(data), 0, b64encode(bytes(len(data))).decode())
    yard.blobs.handle_command(yard.now, Asker(ClientId(1), 1), put)
    yard.outbox.effects.clear()
    if is_wrong:
        yard.blobs.handle_disk(yard.now, BlobWritten(blob, len(data)))
        yard.outbox.effects.clear()
        yard.blobs.handle_disk(yard.now, BlobSealed(blob, False))
    else:
        yard.blobs.handle_disk(yard.now, BlobFailed(blob, "no space left on device"))
    yard.run(60.0)
    assert yard.blobs.has(blob)
