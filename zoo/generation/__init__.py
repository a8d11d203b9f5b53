"""Writing tokens with a trained model: sampling, beam search, and how good a translation is."""
