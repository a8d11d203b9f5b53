"""What a storage's address may be, and who may use it at the same time."""

import contextlib
import threading
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from search.errors import SearchError
from search.storage import SQLiteStorage, open_storage


def test_sqlite_serves_one_search_at_a_time(tmp_path: Path) -> None:
    first, second = (open_storage(f"sqlite:///{tmp_path}/x.db", tmp_path, "s") for _ in range(2))
    assert isinstance(first, SQLiteStorage)
    assert isinstance(second, SQLiteStorage)
    first.lock_for_good()
    with pytest.raises(SearchError, match="is in use by another search; SQLite serves one worker only"):
        second.lock_for_good()
    first.close()
    second.lock_for_good()
    second.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "mysql://localhost/x",
            "--storage is 'mysql://localhost/x', but must be sqlite:///FILE or",
        ),
        ("nonsense", "must be sqlite:///FILE or postgresql://"),
        (
            "postgresql://me:secret@127.0.0.1:9/x",
            "--storage postgresql://me@127.0.0.1:9/x: cannot be reached",
        ),
        ("postgresql://me:secret@[::1/x", "--storage postgresql://me@[::1/x: cannot be reached"),
        ("sqlite:////nowhere/at/all/x.db", "--storage sqlite:////nowhere/at/all/x.db: cannot be reached"),
    ],
)
def test_address_that_leads_nowhere_is_one_line_without_its_password(
    tmp_path: Path, url: str, message: str
) -> None:
    with pytest.raises(SearchError) as error:
        open_storage(url, tmp_path, "s")
    assert message in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_lock_keeps_other_storages_of_the_study_out(tmp_path: Path) -> None:
    first, second = (open_storage(None, tmp_path, "s") for _ in range(2))
    order: list[str] = []
    with first.lock():
        thread = threading.Thread(target=lambda: second.locked(lambda: order.append("second")))
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"garbage\n", 1),
        (b"garbage", 1),
        (b'{"op_code": 0}\n\xff\n{"op_code": 0}\n', 2),
        (b'{"op_code": 0}\n3\n', 2),
    ],
)
def test_journal_that_is_none_is_named_with_its_line(tmp_path: Path, text: bytes, line: int) -> None:
    journal = tmp_path / "journal.log"
    journal.write_bytes(text)
    with pytest.raises(SearchError) as error:
        open_storage(None, tmp_path, "s")
    assert str(error.value).startswith(f"{journal}:{line}: cannot be read")
    assert "remove" not in str(error.value)
    assert journal.read_bytes() == text


def test_journal_whose_last_line_was_never_written_to_its_end_is_read(tmp_path: Path) -> None:
    with contextlib.closing(open_storage(None, tmp_path, "s")) as storage:
        storage.optuna.create_new_study([StudyDirection.MINIMIZE], "s")
    with (tmp_path / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code": 4, "wor')
    with contextlib.closing(open_storage(None, tmp_path, "s")) as storage:
        study = storage.optuna.get_study_id_from_name("s")
        storage.optuna.set_study_user_attr(study, "a", 1)
    with contextlib.closing(open_storage(None, tmp_path, "s")) as storage:
        assert storage.optuna.get_study_user_attrs(study) == {"a": 1}
