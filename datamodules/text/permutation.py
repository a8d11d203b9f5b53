"""A shuffled order that is worked out where it is needed: a stored one of 10^9 windows would take 8 GB."""

import numpy as np

__all__ = ["Permutation"]

ROUNDS = 6


class Permutation:
    """A pseudo-random order of the numbers below ``size``, any part of which costs only its own length.

    A Feistel network permutes the numbers below the next power of two: half of a number's bits are changed
    by a hash of the other half, in turns, and each turn can be undone. What comes out too large goes in
    again until it fits (cycle walking), fewer than two times on average.

    Args:
        size: How many numbers, in [0, 2**62].
        seed: Two runs with the same seed have the same order; any integers.
    """

    def __init__(self, size: int, *seed: int) -> None:
        self.size = size
        sequence = np.random.SeedSequence([number % 2**64 for number in seed])
        self._keys = sequence.generate_state(ROUNDS, np.uint64)
        bits = max((size - 1).bit_length(), 2)
        self._low_bits = np.uint64(bits // 2)
        self._low = np.uint64(2 ** (bits // 2) - 1)
        self._high = np.uint64(2 ** (bits - bits // 2) - 1)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """The numbers at these positions of the order.

        Args:
            positions: Positions in [0, size), int64.

        Returns:
            Numbers in [0, size), int64, of the same shape.
        """
        numbers = self._shuffle(positions.astype(np.uint64))
        while (outside := numbers >= self.size).any():
            numbers[outside] = self._shuffle(numbers[outside])
        return numbers.astype(np.int64)

    def _shuffle(self, numbers: np.ndarray) -> np.ndarray:
        low, high = numbers & self._low, numbers >> self._low_bits
        for i, key in enumerate(self._keys):
            if i % 2:
                low ^= _hash(high, key) & self._low
            else:
                high ^= _hash(low, key) & self._high
        return low | (high << self._low_bits)


def _hash(numbers: np.ndarray, key: np.uint64) -> np.ndarray:
    """Mixed bits of each number, as in SplitMix64 (Steele, Lea and Flood, 2014)."""
    mixed = (numbers + key) * np.uint64(0x9E3779B97F4A7C15)  # an array's product wraps around
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
