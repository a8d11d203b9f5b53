import gzip
import hashlib
import logging
import multiprocessing
import os
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pooch
import pytest

from datamodules import _download
from datamodules._download import RemoteFile, get_file, read_file, read_members
from datamodules.interface.errors import DataError
from tests.datamodules.fixtures import tar_gz, zipped

CONTENT = b"the data\n" * 5000
PACKED = gzip.compress(CONTENT, mtime=0)
REPACKED = gzip.compress(CONTENT, compresslevel=1, mtime=12345)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG = gzip.compress(b"other data")


class Server:
    """A local web server; ``answers`` says what each path gets, ``asked`` which were asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.claimed_length: dict[str, int] = {}
        self.seconds_to_answer = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                time.sleep(outer.seconds_to_answer)
                body = outer.answers.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(outer.claimed_length.get(self.path, len(body))))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def remote(*urls: str, name: str = "numbers.gz") -> RemoteFile:
    return RemoteFile(name=name, sha256=SHA256, urls=urls)


def visible(folder: Path) -> list[str]:
    """What is in the folder, but for lock files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_downloaded_and_checked(server: Server, tmp_path: Path) -> None:
    server.answers["/numbers.gz"] = PACKED
    target = tmp_path / "new" / "numbers.gz"
    assert get_file(remote(server.url + "/numbers.gz"), [target]) == target
    assert target.read_bytes() == PACKED
    assert read_file([target]) == CONTENT
    assert visible(target.parent) == ["numbers.gz"]


def test_a_file_that_is_there_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "numbers.gz").write_bytes(PACKED)
    get_file(remote("http://127.0.0.1:9/never-asked"), [tmp_path / "numbers.gz"])
    assert os.listdir(tmp_path) == ["numbers.gz"]  # not even a lock: the folder may be read-only


@pytest.mark.parametrize(
    ("name", "content"), [("numbers.gz", REPACKED), ("numbers", CONTENT)], ids=["repacked", "unpacked"]
)
def test_the_same_content_packed_otherwise_is_the_same_file(
    server: Server, tmp_path: Path, name: str, content: bytes
) -> None:
    assert REPACKED != PACKED
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / name).write_bytes(content)
    places = [tmp_path / "numbers.gz", elsewhere / name]
    assert get_file(remote(server.url + "/numbers.gz"), places) == elsewhere / name
    assert read_file(places) == CONTENT
    server.answers["/numbers.gz"] = REPACKED
    assert get_file(remote(server.url + "/numbers.gz"), places[:1]) == tmp_path / "numbers.gz"


def test_404_then_the_mirror(server: Server, tmp_path: Path) -> None:
    server.answers["/mirror.gz"] = PACKED
    urls = [server.url + path for path in ("/gone.gz", "/mirror.gz")]
    target = get_file(remote(*urls), [tmp_path / "numbers.gz"])
    assert target.read_bytes() == PACKED
    assert server.asked == ["/gone.gz", "/mirror.gz"]


BAD_DOWNLOADS = {
    "wrong content": (WRONG, "has the wrong content: its SHA-256 is"),
    "an error page": (b"<html>moved</html>", "is damaged: it is no complete gzip file"),
    "truncated": (PACKED[: len(PACKED) // 2], "is damaged: it is no complete gzip file"),
    "nothing": (b"", "has the wrong content: its SHA-256 is"),
}


@pytest.mark.parametrize("bad", BAD_DOWNLOADS)
def test_a_bad_download_is_named_and_deleted_and_the_mirror_tried(
    server: Server, tmp_path: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    body, cause = BAD_DOWNLOADS[bad]
    server.answers |= {"/bad.gz": body, "/mirror.gz": PACKED}
    urls = [server.url + path for path in ("/bad.gz", "/mirror.gz")]
    with caplog.at_level(logging.WARNING):
        target = get_file(remote(*urls), [tmp_path / "numbers.gz"])
    assert target.read_bytes() == PACKED
    messages = [record.message for record in caplog.records if record.name == "datamodules._download"]
    assert len(messages) == 1
    assert messages[0].startswith(f"{urls[0]}: the download {cause}")
    assert "\n" not in messages[0]
    assert visible(tmp_path) == ["numbers.gz"]


def test_a_connection_that_breaks_off_is_tried_again_after_the_mirrors(
    server: Server, tmp_path: Path
) -> None:
    server.answers |= {"/broken.gz": PACKED}
    server.claimed_length["/broken.gz"] = len(PACKED) + 100
    urls = [server.url + path for path in ("/broken.gz", "/gone.gz")]
    with pytest.raises(DataError, match=r"broken.gz \(no connection: .*gone.gz \(404 Client Error"):
        get_file(remote(*urls), [tmp_path / "numbers.gz"])
    assert server.asked == ["/broken.gz", "/gone.gz", "/broken.gz"]
    assert os.listdir(tmp_path) == []  # not even a lock


def test_when_all_fail_one_line_names_file_urls_causes_and_the_way_out(
    server: Server, tmp_path: Path
) -> None:
    server.answers["/bad.gz"] = WRONG
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    urls = [server.url + "/bad.gz", server.url + "/gone.gz", f"http://127.0.0.1:{port}/numbers.gz"]
    target = tmp_path / "numbers.gz"
    with pytest.raises(DataError) as caught:
        get_file(remote(*urls), [target])
    wrong = hashlib.sha256(b"other data").hexdigest()
    assert str(caught.value) == (
        "numbers.gz could not be downloaded: "
        f"{urls[0]} (the download has the wrong content: its SHA-256 is {wrong}, but must be {SHA256}); "
        f"{urls[1]} (404 Client Error: Not Found); "
        f"{urls[2]} (no connection: Connection refused); "
        f"check the network, or put the file there by hand: {target}"
    )
    assert os.listdir(tmp_path) == []  # not even a lock


@pytest.mark.parametrize("content", [WRONG, PACKED[:100]], ids=["wrong", "truncated"])
def test_a_wrong_file_that_was_there_is_named_and_never_deleted(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.answers["/numbers.gz"] = PACKED
    target = tmp_path / "numbers.gz"
    target.write_bytes(content)
    with pytest.raises(DataError, match="left as it is: move it away") as caught:
        get_file(remote(server.url + "/numbers.gz"), [target])
    assert str(caught.value).startswith(str(target))
    if content == WRONG:
        assert f"is {hashlib.sha256(b'other data').hexdigest()}, but must be {SHA256}" in str(caught.value)
    assert target.read_bytes() == content
    assert server.asked == []


def test_reading_a_damaged_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "numbers.gz").write_bytes(PACKED[:100])
    with pytest.raises(DataError, match=r"numbers.gz is damaged: it is no complete gzip file"):
        read_file([tmp_path / "numbers.gz"])
    with pytest.raises(DataError, match=r"absent.gz: is missing; prepare_data\(\) gets it"):
        read_file([tmp_path / "absent.gz"])


@pytest.mark.parametrize("stop", [DataError, KeyboardInterrupt])
def test_a_download_that_failed_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def fail(_: RemoteFile, target: Path) -> None:
        assert target.parent.is_dir()
        raise stop("no")

    monkeypatch.setattr(_download, "_download", fail)
    (tmp_path / "mine").mkdir()
    for folder in ("new/folder", "mine", "mine/new"):
        with pytest.raises(stop):
            get_file(remote("http://127.0.0.1:9/never-asked"), [tmp_path / folder / "numbers.gz"])
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_folders_that_another_has_filled_meanwhile_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: RemoteFile, target: Path) -> None:
        (target.parent.parent / "other.gz").write_bytes(PACKED)
        raise DataError("no")

    monkeypatch.setattr(_download, "_download", fail)
    with pytest.raises(DataError, match="no"):
        get_file(remote("http://127.0.0.1:9/never-asked"), [tmp_path / "new" / "folder" / "numbers.gz"])
    assert list((tmp_path / "new").rglob("*")) == [tmp_path / "new" / "other.gz"]


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"numbers.gz: cannot be written \(.*data_dir"):
        get_file(remote(server.url + "/numbers.gz"), [tmp_path / "file" / "numbers.gz"])


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fill_the_disk(_: Any, url: str, output_file: str, *__: Any) -> None:
        asked.append(url)
        Path(output_file).write_bytes(PACKED[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fill_the_disk)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\); make room"):
        get_file(remote("http://127.0.0.1/1", "http://127.0.0.1/2"), [tmp_path / "numbers.gz"])
    assert os.listdir(tmp_path) == []  # not even a lock
    assert asked == ["http://127.0.0.1/1"]  # another mirror would not help


def test_what_a_killed_download_left_is_replaced(server: Server, tmp_path: Path) -> None:
    server.answers["/numbers.gz"] = PACKED
    (tmp_path / ".part-numbers.gz").write_bytes(PACKED[:10])
    get_file(remote(server.url + "/numbers.gz"), [tmp_path / "numbers.gz"])
    assert visible(tmp_path) == ["numbers.gz"]


def _get(url: str, target: Path) -> bytes:
    return get_file(remote(url), [target]).read_bytes()


def test_processes_that_ask_at_once_download_once(server: Server, tmp_path: Path) -> None:
    server.answers["/numbers.gz"] = PACKED
    server.seconds_to_answer = 1.0  # the others ask meanwhile
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.starmap(_get, [(server.url + "/numbers.gz", tmp_path / "numbers.gz")] * 4, chunksize=1)
    assert results == [PACKED] * 4
    assert server.asked == ["/numbers.gz"]


# Other hashes


def test_sha1_is_that_of_the_file(server: Server, tmp_path: Path) -> None:
    packed = b"PK and so on"
    server.answers["/a.zip"] = packed
    sha1 = hashlib.sha1(packed).hexdigest()
    file = RemoteFile(name="a.zip", sha1=sha1, urls=(server.url + "/a.zip",))
    assert get_file(file, [tmp_path / "a.zip"]).read_bytes() == packed
    (tmp_path / "a.zip").write_bytes(b"other")
    wrong = hashlib.sha1(b"other").hexdigest()
    with pytest.raises(DataError, match=f"has the wrong content: its SHA-1 is {wrong}, but must be {sha1}"):
        get_file(file, [tmp_path / "a.zip"])


# Archives of several files

FILES = {"one": b"1" * 3000, "two": b"2" * 5000}


def archive(*urls: str, suffix: str = ".tar.gz") -> RemoteFile:
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}
    return RemoteFile(name=f"files{suffix}", members_md5=md5, urls=urls)


PACKERS = {".tar.gz": tar_gz, ".zip": zipped}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("folder", ["files", "another/folder"])
def test_an_archive_is_downloaded_and_its_files_are_checked(
    server: Server, tmp_path: Path, folder: str, suffix: str
) -> None:
    packed = PACKERS[suffix]({"notes": b"not used"} | FILES, folder=folder)
    server.answers["/files"] = packed
    name = f"files{suffix}"
    target = get_file(archive(server.url + "/files", suffix=suffix), [tmp_path / name])
    assert target.read_bytes() == packed
    assert visible(tmp_path) == [name]
    assert read_members([target], ["two", "one"]) == FILES
    assert read_members([target], ["two"]) == {"two": FILES["two"]}


@pytest.mark.parametrize("suffix", PACKERS)
def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path, suffix: str) -> None:
    files = {"old/one": b"old", "new/one": b"new", "new/someone": b"other"}
    (tmp_path / f"files{suffix}").write_bytes(PACKERS[suffix](files, folder="files"))
    places = [tmp_path / f"files{suffix}"]
    assert read_members(places, ["new/one"]) == {"new/one": b"new"}
    assert read_members(places, ["files/new/one", "old/one"]) == {"files/new/one": b"new", "old/one": b"old"}
    with pytest.raises(DataError, match="is not complete: it holds no w/one"):
        read_members(places, ["w/one"])


PACKED_FILES = tar_gz(FILES)
ZIPPED_FILES = zipped(FILES)
NO_GZIP = "is damaged: it is no complete gzip file"
NO_ZIP = "is damaged: it is no complete zip archive"
BAD_ARCHIVES = {
    "an error page": (".tar.gz", b"<html>moved</html>", NO_GZIP),
    "truncated": (".tar.gz", PACKED_FILES[: len(PACKED_FILES) // 2], NO_GZIP),
    "no archive": (".tar.gz", PACKED, "is damaged: it is no complete tar archive"),
    "a file missing": (".tar.gz", tar_gz({"one": FILES["one"]}), "is not complete: it holds no two"),
    "a file changed": (
        ".tar.gz",
        tar_gz(FILES | {"two": b"3"}),
        "two in it has the wrong content: its MD5 is",
    ),
    "zip: an error page": (".zip", b"<html>moved</html>", NO_ZIP),
    "zip: truncated": (".zip", ZIPPED_FILES[: len(ZIPPED_FILES) // 2], NO_ZIP),
    "zip: a file missing": (".zip", zipped({"one": FILES["one"]}), "is not complete: it holds no two"),
    "zip: a file changed": (
        ".zip",
        zipped(FILES | {"two": b"3"}),
        "two in it has the wrong content: its MD5",
    ),
    "zip: a byte changed": (".zip", zipped(FILES, compressed=False).replace(b"22", b"23", 1), NO_ZIP),
}


@pytest.mark.parametrize("bad", BAD_ARCHIVES)
def test_a_bad_archive_is_named_and_nothing_is_left(server: Server, tmp_path: Path, bad: str) -> None:
    suffix, body, cause = BAD_ARCHIVES[bad]
    name = f"files{suffix}"
    server.answers[f"/{name}"] = body
    with pytest.raises(DataError, match=rf"{name} \(the download {cause}.*by hand: {tmp_path}") as caught:
        get_file(archive(f"{server.url}/{name}", suffix=suffix), [tmp_path / name])
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []  # not even a lock


@pytest.mark.parametrize("bad", BAD_ARCHIVES)
def test_a_bad_archive_that_was_there_is_named_and_left(tmp_path: Path, bad: str) -> None:
    suffix, body, cause = BAD_ARCHIVES[bad]
    path = tmp_path / f"files{suffix}"
    path.write_bytes(body)
    with pytest.raises(DataError, match=rf"^{path} {cause}.*it was left as it is") as caught:
        get_file(archive("http://127.0.0.1:9/never-asked", suffix=suffix), [path])
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == body


def test_a_folder_with_the_files_stands_for_the_archive(tmp_path: Path) -> None:
    places = [tmp_path / "files.tar.gz", tmp_path / "files"]
    places[1].mkdir()
    for name, content in FILES.items():
        (places[1] / name).write_bytes(content)
    assert get_file(archive("http://127.0.0.1:9/never-asked"), places) == places[1]
    assert read_members(places, list(FILES)) == FILES
    (places[1] / "two").unlink()
    with pytest.raises(DataError, match="files is not complete: it holds no two; it was left as it is"):
        get_file(archive("http://127.0.0.1:9/never-asked"), places)
    with pytest.raises(DataError, match=r"files.tar.gz: is missing; prepare_data\(\) gets it"):
        read_members(places[:1], ["one"])


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path) -> None:
    """What lies outside the archive is not read through it, whatever the link's name."""
    (tmp_path / "secret").write_bytes(FILES["one"])
    with tarfile.open(tmp_path / "files.tar.gz", "w:gz") as packed:
        member = tarfile.TarInfo("files/one")
        member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        packed.addfile(member)
    with pytest.raises(DataError, match="is not complete: it holds no one"):
        read_members([tmp_path / "files.tar.gz"], ["one"])
