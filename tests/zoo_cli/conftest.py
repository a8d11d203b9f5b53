"""Running commands in this process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from search.storage import Storage
from tests.zoo_cli.searches import worker_in_this_process
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


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Storage]]:
    """Let the worker of ``search`` be this process."""
    with worker_in_this_process(monkeypatch) as opened:
        yield opened


@pytest.fixture
def space() -> Callable[[str], str]:
    """Write a space, and return its name."""

    def write(text: str) -> str:
        Path("space.yaml").write_text(text)
        return "space.yaml"

    return write
