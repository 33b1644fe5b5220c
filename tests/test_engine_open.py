"""Opening a board: what is refused, in which words, and how the schema gets there."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from delm_mcp.errors import StoreCorrupt, StoreError, StoreUnavailable
from delm_mcp.store.connection import connect
from delm_mcp.store.engine import Engine, Migration, Mount
from delm_mcp.store.files import mounted, network_filesystem
from delm_mcp.store.lock import FileLock
from tests.engine_worker import MIGRATIONS, ids, insert, start

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.db"


def opened(path: Path, migrations: list[Migration] = MIGRATIONS, **options: Any) -> list[int]:
    """Open the board and close it; return the ids of its rows."""

    async def main() -> list[int]:
        async with Engine.open(path, migrations=migrations, **options) as engine:
            return await engine.read(ids)

    return asyncio.run(main())


def filled(path: Path, *texts: str) -> None:
    """Open the board, add these rows and close it."""

    async def main() -> None:
        async with Engine.open(path, migrations=MIGRATIONS) as engine:
            await asyncio.gather(*(engine.write(insert(text)) for text in texts))

    asyncio.run(main())


def refused(path: Path, kind: type[StoreError], match: str, **options: Any) -> StoreError:
    """Return the error with which opening the board fails, having left no thread behind."""
    before = set(threading.enumerate())
    with pytest.raises(kind, match=match) as caught:
        opened(path, **options)
    assert caught.value.hint
    for thread in set(threading.enumerate()) - before:
        thread.join(0 if thread.name == "delm-lock" else 5)  # that one still waits for its turn
        assert not thread.is_alive() or thread.name == "delm-lock"
    return caught.value


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "no" / "board.db", StoreUnavailable, "There is no folder .*no")


def test_a_folder_is_not_a_board(tmp_path: Path) -> None:
    refused(tmp_path, StoreUnavailable, "is a folder")


def test_a_missing_board_is_only_made_when_that_is_wished(path: Path) -> None:
    refused(path, StoreUnavailable, "no board at", create=False)
    assert not path.exists()
    opened(path)
    assert opened(path, create=False) == []


@pytest.mark.parametrize("content", [b"# A readme\n" * 100, b"x", b"SQLite format 3\0" + b"\xff" * 84])
def test_a_file_that_is_not_a_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path, StoreCorrupt, "not a SQLite database|another program")
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


def test_an_empty_file_becomes_a_board(path: Path) -> None:
    path.touch()
    assert opened(path) == []


@pytest.mark.parametrize("setup", ["PRAGMA application_id = 7", "CREATE TABLE theirs (v)"])
def test_the_database_of_another_program_is_refused_and_left_alone(path: Path, setup: str) -> None:
    connection = connect(path)
    connection.execute(setup)
    connection.close()
    content = path.read_bytes()
    refused(path, StoreCorrupt, "another program")
    assert path.read_bytes() == content


def test_a_damaged_board_is_named_whenever_the_damage_is_met(path: Path) -> None:
    filled(path, *["x" * 3000] * 50)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xee" * (path.stat().st_size - 4096))
    refused(path, StoreCorrupt, "damaged")


async def test_damage_that_appears_later_is_named_to_readers_and_writers(path: Path) -> None:
    await asyncio.to_thread(filled, path, *["x" * 3000] * 50)
    async with Engine.open(path, migrations=MIGRATIONS) as engine:
        table = "SELECT rootpage FROM sqlite_master WHERE name = 'note'"
        root = await engine.read(lambda db: int(db.execute(table).fetchall()[0][0]))
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xee" * 4096)
    async with Engine.open(path, migrations=MIGRATIONS) as engine:
        with pytest.raises(StoreCorrupt, match="damaged"):
            await engine.read(ids)
        with pytest.raises(StoreCorrupt, match="damaged"):
            await engine.write(insert("more"))


def test_a_symbolic_link_and_its_target_share_one_lock(path: Path, tmp_path: Path) -> None:
    opened(path)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    opened(link)
    assert sorted(os.listdir(tmp_path)) == ["board.db", "board.db.lock", "board.db.turn", "link.db"]


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that an unprivileged user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "boards"
        folder.mkdir()
        for each in (folder, folder.parent):
            each.chmod(0o777)
        yield folder
        folder.chmod(0o777)


def outcome_for_another_user(database: Path) -> str:
    process = start("unprivileged", database)
    output, _ = process.communicate(timeout=30)
    return output.strip()


def test_a_read_only_folder_is_named(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    outcome = outcome_for_another_user(public_folder / "board.db")
    assert outcome.startswith("StoreUnavailable")
    assert "Permission denied" in outcome


def test_a_read_only_file_is_named_when_it_is_opened(public_folder: Path) -> None:
    database = public_folder / "board.db"
    opened(database)
    for file in public_folder.iterdir():
        file.chmod(0o444)
    outcome = outcome_for_another_user(database)
    assert outcome.startswith("StoreUnavailable")
    assert "read-only" in outcome


def test_a_writable_board_of_another_user_is_shared(public_folder: Path) -> None:
    database = public_folder / "board.db"
    opened(database)
    database.chmod(0o666)
    assert outcome_for_another_user(database) == "opened"


@pytest.mark.parametrize(
    ("path", "fstype"),
    [
        ("/board.db", ""),
        ("/home/me/board.db", "nfs4"),
        ("/home/me/local/board.db", ""),
        ("/home/media/board.db", ""),
        ("/mnt/c/board.db", "9p"),
        ("/mnt/remote/board.db", "fuse.sshfs"),
        ("/mnt/disk/board.db", ""),
        ("/mnt/over/board.db", "cifs"),
    ],
)
def test_the_deepest_and_latest_mount_decides_whether_a_path_is_on_a_network(path: str, fstype: str) -> None:
    mounts = [
        Mount("/", "ext4"),
        Mount("/home/me", "nfs4"),
        Mount("/home/me/local", "xfs"),
        Mount("/mnt/c", "9p"),
        Mount("/mnt/remote", "fuse.sshfs"),
        Mount("/mnt/disk", "fuseblk"),
        Mount("/mnt/over", "ext4"),
        Mount("/mnt/over", "cifs"),
    ]
    assert network_filesystem(Path(path), mounts) == fstype


def test_a_board_on_a_network_file_system_is_refused_before_anything_is_made(path: Path) -> None:
    mounts = [Mount(str(path.parent), "nfs4")]
    refused(path, StoreUnavailable, r"network file system \(nfs4\)", mounts=lambda: mounts)
    assert os.listdir(path.parent) == []


def test_this_machine_lists_what_it_has_mounted() -> None:
    assert any(mount.mountpoint == "/" and mount.fstype for mount in mounted())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where this user may mount one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_fails_the_write_and_nothing_else(tiny_disk: Path) -> None:
    for _ in range(2):
        async with Engine.open(tiny_disk / "board.db", migrations=MIGRATIONS) as engine:
            kept = await engine.read(ids)
            with pytest.raises(StoreUnavailable, match="full"):
                await engine.write(insert("x" * 2_000_000))
            assert await engine.read(ids) == kept
            assert await engine.write(insert("small")) == len(kept) + 1


LIMITED = """
import asyncio, pathlib, resource, signal, sys
from delm_mcp.errors import StoreUnavailable
from delm_mcp.store.engine import Engine
from tests.engine_worker import MIGRATIONS, ids, insert

async def main():
    async with Engine.open(pathlib.Path(sys.argv[1]), migrations=MIGRATIONS) as engine:
        kept = await engine.write(insert("small"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            await engine.write(insert("x" * 2_000_000))
        except StoreUnavailable as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await engine.write(insert("x" * 2_000_000))
        print(await engine.read(ids) == [kept, kept + 1])

asyncio.run(main())
"""


def test_a_disk_that_refuses_a_write_fails_that_write_and_takes_the_next(path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stderr == ""
    said, went_on = process.stdout.splitlines()
    assert "refused to read or write" in said or "full" in said
    assert went_on == "True"


def test_a_board_that_another_process_holds_names_that_process(path: Path) -> None:
    opened(path)
    process = start("hold", path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        error = refused(path, StoreUnavailable, "locked for 0.1 s", lock_timeout_s=0.1)
        if sys.platform == "linux":
            assert f"process {process.pid}" in str(error)
    finally:
        process.communicate("\n", timeout=30)
    assert opened(path) == []


def test_a_lock_that_came_after_its_waiter_gave_up_is_passed_on(path: Path) -> None:
    first, second, third = (FileLock(path, timeout_s=0.05) for _ in range(3))
    first.acquire()
    with pytest.raises(StoreUnavailable):
        second.acquire()
    first.release()
    # The place in the queue that `second` gave up must not keep `third` out.
    third.acquire(10)
    third.release()
    second.acquire(10)
    second.release()
    for lock in (first, second, third):
        lock.close()


async def test_a_program_that_locks_the_database_itself_is_waited_for_then_named(path: Path) -> None:
    async with Engine.open(path, migrations=MIGRATIONS, lock_timeout_s=0.1) as engine:
        intruder = connect(path)
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked by another program"):
            await engine.write(insert("blocked"))
        intruder.execute("ROLLBACK")
        intruder.close()
        assert await engine.write(insert("free")) == 1


def test_a_board_that_another_program_writes_to_is_not_opened(path: Path) -> None:
    opened(path)
    intruder = connect(path)
    intruder.execute("BEGIN IMMEDIATE")
    refused(path, StoreUnavailable, "locked by another program", lock_timeout_s=0.1)
    intruder.close()
    assert opened(path) == []
