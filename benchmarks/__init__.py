"""Side-by-side measurements of speed; none of them is part of the tests."""
