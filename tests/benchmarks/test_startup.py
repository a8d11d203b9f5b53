from benchmarks.startup import format_startup


def test_table_compares_within_repetitions():
    table = format_startup({"import": [2.0, 20.0, 2.0], "help": [3.0, 20.0, 2.0], "fit": [4.5, 24.0, 4.5]})
    assert "times 1.00 (<= 1.15: reached)" in table
    assert "plus 2.50 (<= 3: reached) s" in table
