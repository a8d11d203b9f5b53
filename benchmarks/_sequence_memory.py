"""Private memory that a large text file takes under ``datamodules.TextFile``, beyond that of the imports.

``sequence.py`` makes the file and runs this in a process of its own. Linux only: it reads ``smaps_rollup``.
"""

import argparse
import itertools
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import datamodules
from benchmarks._sequence_clock import now

__all__ = ["Memory", "MemoryWatch", "main", "memory"]


class Memory(NamedTuple):
    """What a process has for itself, in bytes.

    Attributes:
        private: Pages that it alone has, those of mapped files too.
        anonymous: Those of them that belong to no file: the system cannot take them back.
    """

    private: int
    anonymous: int


def memory() -> Memory:
    """The memory of this process now."""
    values = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        values[name.rstrip(":")] = 1024 * int(value)
    return Memory(values["Private_Clean"] + values["Private_Dirty"], values["Anonymous"])


class MemoryWatch:
    """Notes the highest memory within a ``with`` block, read again and again in a thread.

    Args:
        interval: Seconds between two readings.

    Attributes:
        before: Memory at the start.
        highest: The highest of each, beyond those at the start.
    """

    def __init__(self, interval: float = 0.05) -> None:
        self.interval = interval
        self.before = Memory(0, 0)
        self.highest = Memory(0, 0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "MemoryWatch":
        self.before = memory()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._note()

    def _watch(self) -> None:
        while not self._done.wait(self.interval):
            self._note()

    def _note(self) -> None:
        more = (after - before for after, before in zip(memory(), self.before, strict=True))
        self.highest = Memory(*(max(pair) for pair in zip(self.highest, more, strict=True)))


def read_through(data: datamodules.TextFile, batches: int) -> Iterator[int]:
    """Build the vocabulary, encode, and take training and validation batches; yields tokens of each."""
    data.prepare_data()
    data.setup("fit")
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in itertools.islice(loader, batches):
            yield batch[0].numel()


def main() -> None:
    """Read the file as training does, and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--batches", type=int, default=200, help="of training, and as many of validation")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    warm_up(given.file.parent)
    started_at = now()
    with MemoryWatch() as watch:
        data = datamodules.TextFile(path=str(given.file), tokens=given.tokens, batch_size=1024)
        tokens = sum(read_through(data, given.batches))
    ended_at = now()
    result = {
        **watch.highest._asdict(),
        "vocab_size": data.vocab_size,
        "tokens_read": tokens,
        "wall": ended_at.wall - started_at.wall,
        "cpu": ended_at.cpu - started_at.cpu,
    }
    given.output.write_text(json.dumps(result))


def warm_up(folder: Path) -> None:
    """Read a small file, which imports and allocates all that no large file is needed for."""
    small = folder / f"small_{os.getpid()}.txt"
    small.write_text("the time traveller came back to us and told of it\n" * 100)
    sum(read_through(datamodules.TextFile(path=str(small), num_steps=4, batch_size=8), 1))
    small.unlink()


if __name__ == "__main__":
    main()
