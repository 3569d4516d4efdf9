"""Nothing that is killed leaves a false "running" behind."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.postgres import process
from api.postgres import server as postgres
from api.postgres.connection import ask
from api.postgres.server import Server, Watch, stop

Begin = Callable[..., Any]
Start = Callable[..., Server]

PATIENCE_S = 60.0


def _eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _postmaster(data_dir: Path) -> int:
    return int((data_dir / "postmaster.pid").read_text().splitlines()[0])


def _answers(url: str) -> bool:
    try:
        return ask(url, "SELECT 1") == [(1,)]
    except OSError:
        return False


def test_watch_brings_a_killed_server_back_where_it_was(pg: Path, start: Start) -> None:
    server = start(pg, durable=True)
    ask(server.url(), "CREATE TABLE kept AS SELECT 7 AS n")
    watch = Watch(server)
    with structlog.testing.capture_logs() as lines:
        watch.start()
        try:
            killed = _postmaster(server.data_dir)
            os.kill(killed, signal.SIGKILL)
            _eventually(lambda: any(line["event"] == "postgres_restarted" for line in lines))
        finally:
            watch.stop()
    assert ask(server.url(), "SELECT n FROM kept") == [(7,)]
    assert _postmaster(server.data_dir) != killed
    assert [line["port"] for line in lines if line["event"] == "postgres_restarted"] == [server.port]


@pytest.mark.long
def test_watch_keeps_trying_with_a_growing_pause_and_ends_when_told(pg: Path, start: Start) -> None:
    server = start(pg)
    configuration = server.data_dir / "postgresql.conf"
    sound = configuration.read_text()
    configuration.write_text("work_mem = 'plenty'\n")
    watch = Watch(server)
    with structlog.testing.capture_logs() as lines:
        watch.start()
        try:
            os.kill(_postmaster(server.data_dir), signal.SIGKILL)
            _eventually(lambda: len(lines) >= 3)
            configuration.write_text(sound)
            _eventually(lambda: any(line["event"] == "postgres_restarted" for line in lines))
        finally:
            watch.stop()
    pauses = [line["next_try_s"] for line in lines if line["event"] == "postgres_restart_failed"]
    assert pauses == sorted(set(pauses))
    assert "work_mem" in lines[0]["reason"]
    assert ask(server.url(), "SELECT 1") == [(1,)]


def test_watch_leaves_a_stopped_server_stopped(pg: Path, start: Start) -> None:
    server = start(pg)
    watch = Watch(server)
    watch.start()
    stop(server)
    watch.stop()
    assert not _answers(server.url())


def test_server_ends_with_a_killed_service_and_the_next_start_keeps_the_data(
    pg: Path, start: Start, service: Begin
) -> None:
    first = service(pg)
    url, data_dir = first.facts["url"], Path(first.facts["data_dir"])
    ask(url, "CREATE TABLE kept AS SELECT 3 AS n")
    pid = _postmaster(data_dir)
    first.process.kill()
    _eventually(lambda: not process.is_postmaster_of(pid, data_dir))
    second = start(pg)
    assert ask(second.url(), "SELECT n FROM kept") == [(3,)]


def test_service_and_server_killed_together_leave_nothing_that_hinders(pg: Path, start: Start, service: Begin) -> None:
    first = service(pg)
    data_dir = Path(first.facts["data_dir"])
    ask(first.facts["url"], "CREATE TABLE kept AS SELECT 4 AS n")
    pid = _postmaster(data_dir)
    first.process.send_signal(signal.SIGSTOP)  # it must not notice
    os.kill(pid, signal.SIGKILL)
    first.process.kill()
    first.process.wait()
    assert _postmaster(data_dir) == pid
    assert ask(start(pg).url(), "SELECT n FROM kept") == [(4,)]


@pytest.mark.long
@pytest.mark.parametrize("name", ["pg", "renamed meanwhile"])
def test_server_that_outlived_its_service_is_replaced(pg: Path, start: Start, name: str) -> None:
    first = postgres.start(pg)
    ask(first.url(), "CREATE TABLE kept AS SELECT 5 AS n")
    outlived = _postmaster(first.data_dir)
    lost = postgres._supervised.pop(first.data_dir)
    lost.folder.release()  # what the kernel does when a service dies, but for the death signal
    second = start(pg.rename(pg.with_name(name)))
    assert not Path(f"/proc/{outlived}").exists()
    assert _postmaster(second.data_dir) != outlived
    assert ask(second.url(), "SELECT n FROM kept") == [(5,)]


def test_pid_file_that_names_a_foreign_process_is_not_believed(pg: Path, start: Start) -> None:
    server = start(pg)
    stop(server)
    owner = server.data_dir.stat()
    # Of the server's own uid: PostgreSQL itself takes any such process for a postmaster and refuses to start.
    who: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    foreign = subprocess.Popen(["/bin/sleep", "60"], **who)
    try:
        _write_pid_file(server, foreign.pid)
        assert ask(start(pg).url(), "SELECT 1") == [(1,)]
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_pid_file_that_names_an_unreaped_postmaster_is_not_believed(pg: Path, start: Start) -> None:
    server = start(pg)
    stop(server)
    zombie = subprocess.Popen(["postgres", "60"], executable="/bin/sleep")
    try:
        zombie.kill()
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert not process.is_postmaster_of(zombie.pid, server.data_dir)
        _write_pid_file(server, zombie.pid)
        assert ask(start(pg).url(), "SELECT 1") == [(1,)]
    finally:
        zombie.wait()


@pytest.mark.parametrize("content", ["", "nonsense", "-5\n", "99999999\n"])
def test_damaged_pid_file_does_not_hinder(tmp_path: Path, content: str) -> None:
    (tmp_path / "postmaster.pid").write_text(content)
    process.stop_leftover(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()


def test_initdb_killed_half_way_is_begun_again(tmp_path: Path, start: Start) -> None:
    directory = tmp_path / "pg"
    unfinished = directory / "cluster.unfinished-0"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    (directory / "purser-postgres.lock").write_text("1\n")
    assert ask(start(directory).url(), "SELECT 1") == [(1,)]
    assert not unfinished.exists()


def _write_pid_file(server: Server, pid: int) -> None:
    lines = [str(pid), str(server.data_dir), "1700000000", str(server.port), "", "127.0.0.1", "1 1", "ready   "]
    (server.data_dir / "postmaster.pid").write_text("\n".join(lines) + "\n")
