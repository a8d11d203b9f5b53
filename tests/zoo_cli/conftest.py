"""Running commands in this process."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from zoo_cli.main import main


@dataclass
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command and return its exit code and what it printed."""

    def run_command(*args: str) -> Result:
        capsys.readouterr()
        try:
            code = main(list(args))
        except SystemExit as done:  # argparse's own exits
            code = int(done.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run_command


@pytest.fixture
def succeed(run: Run) -> Run:
    """Run a command that must succeed."""

    def run_command(*args: str) -> Result:
        result = run(*args)
        assert result.code == 0, result.err
        return result

    return run_command


@pytest.fixture
def one_line_error(run: Run) -> Callable[..., str]:
    """Run a command that must fail with that exit code and one line; return the line."""

    def run_command(code: int, *args: str) -> str:
        result = run(*args)
        lines = result.err.strip().splitlines()
        assert result.code == code, (result.code, result.err)
        assert len(lines) == 1, result.err
        assert lines[0].startswith("error: ")
        return lines[0]

    return run_command
