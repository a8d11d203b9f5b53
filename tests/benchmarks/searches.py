"""Trainings drawn for a search, and rows of the tables that it prints."""

import random

from benchmarks._search_engine import Training


def row_of(table, method):
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    (cells,) = (row for row in rows if row[0] == method)
    return cells, head


def drawn(trainings):
    """Draws them in turn."""
    left = iter(trainings)
    return lambda curves: next(left)


def trainings_of(seed, count, epochs):
    rng = random.Random(seed)
    quality = [rng.random() for _ in range(count)]
    # Whole seconds, so that epochs often end together; losses so few that some are equal.
    return [
        Training(
            [round(q + 0.5 * rng.random(), 2) for _ in range(epochs)], [float(rng.randint(1, 3))] * epochs
        )
        for q in quality
    ]
