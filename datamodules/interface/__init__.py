"""What data and models agree on: batches, linked values, registries, errors. Imports nothing of either."""
