"""Images on their way from a service to the worker: a bounded queue in shared memory.

One process puts (from any number of threads), one takes. A record is what one call of `put` brought::

    words     counters, 8 bytes each; every word has one writer, and those that are exported never fall
    entries   of the last 4,096 records: ticket, start, first image, shape (N, H, W, C)
    pixels    the bytes, round and round; positions count on for ever, the place is position modulo size. A round may
              end early: the position then leaps to the next multiple of size

A producer reserves its stretch under a lock that is held for microseconds, copies without it, and publishes by writing
the ticket. So a slow copy holds up nobody, and a consumer that is killed leaves nothing locked. Where the oldest
records may be overwritten, the consumer looks after its copy whether the stretch was reserved again meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import threading
import time
from collections import Counter, deque
from enum import IntEnum
from multiprocessing import resource_tracker, shared_memory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray, as_numpy
from genmetrics_rt.errors import InputError

POLICIES = ("drop_newest", "drop_oldest", "sample")
BYTES_PER_CALL = 4 << 20  # copied in one call at most: about half a millisecond; of more images a random part is taken
_ENTRIES = 4096
_FIELDS = 8  # of an entry, the last one spare
_LONGEST_WAIT = 0.0005  # seconds for the lock, which others hold for microseconds
_HANDED = 16  # calls whose images wait for the thread that copies them: each keeps its whole batch alive
_ABANDONED = 60.0  # seconds: nobody copies for so long; whoever began was interrupted
_FULL_FROM = 0.5  # of the queue: fuller, the policy "sample" takes fewer and fewer


class Word(IntEnum):
    """Place of each counter. Those above the line are written by the service, the others by the worker."""

    RESERVED = 0  # bytes given out so far
    HEAD = 1  # records given out so far
    IMAGES = 2  # images in them
    # ---
    TAIL = 3  # records taken so far
    TAKEN = 4  # images in them, with those that were overwritten before
    OVERWRITTEN = 5  # images
    EXTRACTED = 6  # images whose features were extracted
    FAILED = 7  # images that the network could not take
    SEALED = 8  # images in finished panes
    LOST = 9  # images that were on their way to the network when a worker died
    BUSY_MICROSECONDS = 10  # in the network
    BEAT = 11  # milliseconds of the system's monotonic clock when the worker last looked
    UNSAVED = 12  # images that were extracted, and went with an unfinished pane when a worker died


_WORDS = 16
_AT_ENTRIES = 8 * _WORDS
_AT_PIXELS = _AT_ENTRIES + 8 * _FIELDS * _ENTRIES


class _Mapped:
    """The shared memory and the three views of it."""

    def __init__(self, memory: shared_memory.SharedMemory, size: int) -> None:
        self.memory, self.size = memory, size
        assert memory.buf is not None
        self.words = memory.buf[:_AT_ENTRIES].cast("q")
        self.entries = memory.buf[_AT_ENTRIES:_AT_PIXELS].cast("q")
        self.pixels = np.frombuffer(memory.buf, np.uint8, size, _AT_PIXELS)

    def close(self) -> None:
        self.words.release()
        self.entries.release()
        del self.pixels
        with contextlib.suppress(BufferError):  # a thread that still copies keeps the memory until it is done
            self.memory.close()


class _Chosen(NamedTuple):
    """Of the images of one call, those that go into the queue."""

    batch: ImageArray
    rows: NDArray[np.intp] | None  # of the batch; None for all
    shape: tuple[int, ...]  # of what is copied
    num_bytes: int
    num_arrived: int


class ImageQueue:
    """The producer's side. ``put`` may be called from any thread; it neither blocks nor raises `InputError` later on.

    Parameters
    ----------
    size : int
        Bytes of pixels. All of it is reserved at once, so that a full /dev/shm is an error here and not a crash later.
    max_images : int
        That wait at most. What waits is looked at before what comes now, so a long queue is a late alarm.
    when_full
        ``"drop_newest"``, ``"drop_oldest"``, or ``"sample"``: from half full on a falling share is taken at random, so
        that what is taken is spread over the time rather than in bursts.
    sampling : float
        Share of the images that is taken at all, (0, 1].
    """

    def __init__(self, *, size: int, max_images: int, when_full: str, sampling: float, seed: int) -> None:
        if when_full not in POLICIES:
            raise InputError(f"when_full is {when_full!r}; it must be one of {', '.join(POLICIES)}.")
        if not 0 < sampling <= 1:
            raise InputError(f"sampling is {sampling!r}; it is the share of images to look at, above 0 and up to 1.")
        if max_images < 1:
            raise InputError(f"queue_images is {max_images}; it must be at least 1.")
        if size < 1 << 16:
            raise InputError(f"queue_bytes is {size}; it must be at least 65,536.")
        try:
            memory = shared_memory.SharedMemory(create=True, size=_AT_PIXELS + size)
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(memory._fd, 0, _AT_PIXELS + size)  # type: ignore[attr-defined]
                except OSError:
                    memory.close()
                    memory.unlink()
                    raise
        except OSError as error:
            raise InputError(
                f"{size:,} bytes of shared memory cannot be had ({error.strerror or error}). Give a smaller "
                "queue_bytes, or the container more of /dev/shm (docker run --shm-size)."
            ) from error
        self._mapped = _Mapped(memory, size)
        self._mapped.pixels[:] = 0  # maps the pages now, not in a request
        self.name, self.size, self.max_images = memory.name, size, max_images
        self._overwrites, self._spreads, self._sampling = when_full == "drop_oldest", when_full == "sample", sampling
        self._rng, self._draw = np.random.default_rng(seed), random.Random(seed).random
        # Knows its owner, so that it is given back even if a signal's exception comes right after it was taken.
        self._lock: Any = threading.RLock()
        self._copying: dict[int, tuple[int, float]] = {}  # ticket → start, and when: of copies under way
        self._closed = False
        self._last: dict[Word, int] = {}  # the counters when it was closed
        self._observed = 0
        self._dropped: Counter[str] = Counter()
        self._handed: deque[_Chosen] = deque()  # to be copied by the feeder, who is told so, or that it is over
        self._told: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._feeder: threading.Thread | None = None
        self._late: deque[tuple[int, str]] = deque()  # counted by threads that did not get the lock

    def put(self, images: Any, *, copy: bool = True) -> int:
        """Copy uint8 images (N, H, W, 3), (N, H, W) or (H, W, 3) into the queue; how many were taken.

        With ``copy=False`` a thread of the queue copies them a little later: they must not change meanwhile.
        """
        chosen = self._choose(images)
        if chosen is None:
            return 0
        if copy:
            return self._copy_in(chosen)
        if len(self._handed) >= _HANDED:
            self._count(chosen.num_arrived, "queue_full")
            return 0
        if self._feeder is None:
            self._start_feeder()
        self._handed.append(chosen)
        self._told.put(True)
        return chosen.shape[0]

    def _choose(self, images: Any) -> _Chosen | None:
        """Which of them: the share that was asked for, and no more bytes than a request can spare. None for none."""
        batch = _as_batch(images)
        if batch is None:
            self._count(1, "invalid")
            return None
        count = len(batch)
        if count == 0:
            return None
        if self._closed:
            self._count(count, "closed")
            return None
        rows: NDArray[np.intp] | None = None
        per_image = batch[0].nbytes
        most = min(BYTES_PER_CALL, self.size) // per_image if per_image else 0
        if most == 0:
            self._count(count, "too_large")
            return None
        most = min(most, self.max_images)
        share = self._sampling * (self._room() if self._spreads else 1.0)
        if share < 1 and count == 1:  # what most services do; an array of one costs ten times as much
            if self._draw() >= share:
                self._count(1, "sampled_out")
                return None
        elif share < 1:
            rows = np.flatnonzero(self._rng.random(count) < share)
        if (count if rows is None else len(rows)) > most:
            among = np.arange(count) if rows is None else rows
            rows = np.sort(self._rng.choice(among, most, replace=False))
        taken = count if rows is None else len(rows)
        if taken == 0:
            self._count(count, "sampled_out")
            return None
        return _Chosen(batch, rows, (taken, *batch.shape[1:]), per_image * taken, count)

    def _copy_in(self, chosen: _Chosen) -> int:
        """Into the ring; how many, which is none where there is no room."""
        reserved = self._reserve(chosen.shape, chosen.num_bytes, chosen.num_arrived)
        if reserved is None:
            return 0
        ticket, start = reserved
        copied = False
        try:
            place = start % self.size
            into = self._mapped.pixels[place : place + chosen.num_bytes].reshape(chosen.shape)
            if chosen.rows is None:
                into[...] = chosen.batch
            else:
                np.take(chosen.batch, chosen.rows, axis=0, out=into, mode="clip")  # the other modes copy twice
            copied = True
        finally:
            self._publish(ticket, copied)
        return chosen.shape[0]

    def _start_feeder(self) -> None:
        with self._lock:
            if self._feeder is None and not self._closed:
                self._feeder = threading.Thread(target=self._feed, name="genmetrics-monitor-feeder", daemon=True)
                self._feeder.start()

    def _feed(self) -> None:
        """Copy what is handed over, until the end."""
        while self._told.get():
            with contextlib.suppress(Exception):  # memory that its owner took back: a record of no images
                self._copy_in(self._handed[0])
            self._handed.popleft()  # only now: what is under way still waits

    def counts(self) -> tuple[int, dict[str, int]]:
        """Images that arrived, and those that were not taken by reason."""
        try:
            if self._lock.acquire(timeout=_LONGEST_WAIT):
                while self._late:
                    count, reason = self._late.popleft()
                    self._observed += count
                    self._dropped[reason] += count
            return self._observed, dict(self._dropped)
        finally:
            if self._lock._is_owned():
                self._lock.release()

    def word(self, word: Word) -> int:
        return self._last[word] if self._last else int(self._mapped.words[word])

    def words(self) -> dict[Word, int]:
        """All counters; once closed, what they were then."""
        return {word: self.word(word) for word in Word}

    @property
    def waiting(self) -> int:
        """Images that are queued now; a call whose images are not copied yet counts as one."""
        # Against the way that images go, so that none passes between two looks: never 0 while any of them wait.
        handed, taken = len(self._handed), self.word(Word.TAKEN)
        return handed + max(0, self.word(Word.IMAGES) - taken)

    def close(self) -> None:
        """Give the memory back. Later calls of ``put`` count as dropped."""
        if self._closed:
            return
        settled = self._lock.acquire(timeout=1)  # no call begins to copy after this
        self._closed = True
        if settled:
            self._lock.release()
        if self._feeder is not None:
            self._told.put(False)
            self._feeder.join(1)
        for chosen in list(self._handed):  # handed over by a call that was under way
            self._late.append((chosen.num_arrived, "closed"))
        for _ in range(100):
            if not self._copying:
                break
            time.sleep(0.01)
        self._last = {word: int(self._mapped.words[word]) for word in Word}
        self._mapped.close()
        with contextlib.suppress(FileNotFoundError):
            self._mapped.memory.unlink()

    def _room(self) -> float:
        """The share of images to take by how full the queue is: 1 up to half, falling to 0 at full."""
        words, entries = self._mapped.words, self._mapped.entries
        head, tail = words[Word.HEAD], words[Word.TAIL]
        if tail >= head:
            return 1.0
        used = (words[Word.RESERVED] - entries[_FIELDS * (tail % _ENTRIES) + 1]) / self.size
        waiting = (words[Word.IMAGES] - words[Word.TAKEN]) / self.max_images
        full = min(1.0, max(used, waiting, (head - tail) / _ENTRIES))
        return min(1.0, (1 - full) / (1 - _FULL_FROM))

    def _reserve(self, shape: tuple[int, ...], size: int, count: int) -> tuple[int, int] | None:
        """A ticket and where its bytes begin, for ``count`` images that arrived; None where there is no room."""
        if self._lock._is_owned():  # called by a signal's handler in the middle of a call
            self._late.append((count, "busy"))
            return None
        try:
            if not self._lock.acquire(timeout=_LONGEST_WAIT):
                self._late.append((count, "busy"))
                return None
            self._observed += count
            if self._closed:
                self._dropped["closed"] += count
                return None
            words, entries = self._mapped.words, self._mapped.entries
            ticket, tail, reserved = words[Word.HEAD], words[Word.TAIL], words[Word.RESERVED]
            place = reserved % self.size
            # With nothing waiting, back to the front: memory that was written just now is quicker than the rest.
            idle = place > 0 and tail == ticket and not self._copying
            again = idle or place + size > self.size
            start = reserved + self.size - place if again else reserved
            end = start + size
            # A copy that is under way is never lapped: its late bytes would end up in another record.
            held = min(self._copying) if self._copying else ticket
            oldest, since = self._copying[held] if self._copying else (start, 0.0)
            if not self._overwrites and tail < ticket:
                held, oldest = min(held, tail), min(oldest, entries[_FIELDS * (tail % _ENTRIES) + 1])
            crowded = words[Word.IMAGES] - words[Word.TAKEN] + shape[0] > self.max_images and not self._overwrites
            if crowded or end - oldest > self.size or ticket - held >= _ENTRIES:
                if held in self._copying and time.monotonic() - since > _ABANDONED:
                    del self._copying[held]
                self._dropped["queue_full"] += count
                return None
            if shape[0] < count:
                self._dropped["sampled_out"] += count - shape[0]
            at = _FIELDS * (ticket % _ENTRIES)
            entries[at] = -1  # not yet to be read
            for offset, value in enumerate((start, words[Word.IMAGES], *shape), 1):
                entries[at + offset] = value
            words[Word.RESERVED] = end
            words[Word.IMAGES] += shape[0]
            words[Word.HEAD] = ticket + 1
            self._copying[ticket] = start, time.monotonic()
            return ticket, start
        finally:
            if self._lock._is_owned():
                self._lock.release()

    def _publish(self, ticket: int, copied: bool) -> None:
        # Passing the lock orders the bytes before the ticket on machines that reorder writes.
        with self._lock:
            if self._copying.pop(ticket, None) is None:
                return  # too late: given up
            at = _FIELDS * (ticket % _ENTRIES)
            if not copied:
                self._mapped.entries[at + 3] = 0  # a record of no images
            self._mapped.entries[at] = ticket

    def _count(self, count: int, reason: str) -> None:
        self._late.append((count, reason))
        if len(self._late) > 32:  # a little now and then, not much at once
            self.counts()


class QueueReader:
    """The consumer's side, in the worker's process. ``max_images`` where older ones than so many are passed over."""

    def __init__(self, name: str, size: int, max_images: int | None = None) -> None:
        self._max_images = max_images
        self._awaited, self._since = -1, 0.0  # a ticket that is reserved, and since when
        # Attaching would register the memory with a tracker that unlinks it when this process ends.
        register, resource_tracker.register = resource_tracker.register, lambda *_: None
        try:
            self._mapped = _Mapped(shared_memory.SharedMemory(name), size)
        finally:
            resource_tracker.register = register
        self._fence = threading.Lock()

    def take(self) -> ImageArray | None:
        """The images of the next record (N, H, W, C), copied; None while there is none. Of each image at most once."""
        words, entries = self._mapped.words, self._mapped.entries
        while (tail := words[Word.TAIL]) < words[Word.HEAD]:
            if words[Word.HEAD] - tail > _ENTRIES:
                words[Word.TAIL] = words[Word.HEAD] - _ENTRIES
                continue
            at = _FIELDS * (tail % _ENTRIES)
            record = list(entries[at : at + _FIELDS - 1])
            if record[0] < tail and words[Word.HEAD] - tail <= _ENTRIES:
                if self._awaited != tail:
                    self._awaited, self._since = tail, time.monotonic()
                if time.monotonic() - self._since < _ABANDONED:
                    return None  # reserved, and still being copied
            ticket, start, first, *shape = record
            images = None
            if self._max_images is not None and words[Word.IMAGES] - first > self._max_images:
                ticket = -1  # there are newer ones enough
            if ticket == tail and words[Word.RESERVED] - start <= self._mapped.size:
                place = start % self._mapped.size
                stretch = self._mapped.pixels[place : place + int(np.prod(shape))]
                images = stretch.reshape(shape).copy()
                with self._fence:  # the copy before the look, see `ImageQueue._publish`
                    pass
                if words[Word.RESERVED] - start > self._mapped.size or list(entries[at : at + _FIELDS - 1]) != record:
                    images = None
            words[Word.TAIL] = tail + 1
            if images is None:
                continue  # overwritten; the next record tells by its first image how many there were
            words[Word.OVERWRITTEN] += first - words[Word.TAKEN]
            words[Word.TAKEN] = first + len(images)
            if len(images):
                return images
        return None

    def __getitem__(self, word: Word) -> int:
        return int(self._mapped.words[word])

    def __setitem__(self, word: Word, value: int) -> None:
        self._mapped.words[word] = value

    def close(self) -> None:
        self._mapped.close()


def _as_batch(images: Any) -> ImageArray | None:
    """(N, H, W, C) with C 1 or 3, without a copy; None for what is no batch of uint8 images. Never looks at pixels."""
    if not isinstance(images, np.ndarray):
        if not (hasattr(images, "__dlpack__") or hasattr(images, "__array_interface__") or hasattr(images, "detach")):
            return None  # a list would be gone through item by item, in the request
        images = as_numpy(images)
    if images.dtype != np.uint8:
        return None
    if images.ndim == 3:
        images = images[None] if images.shape[-1] == 3 and images.shape[0] != 3 else images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        return None
    batch: ImageArray = images
    return batch
