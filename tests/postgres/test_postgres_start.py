"""A server is found, made, opened again, or refused with a reason."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.postgres import folder
from api.postgres.connection import ask
from api.postgres.server import Server, running, running_port, stop
from api.postgres.unavailable import PostgresUnavailable

Begin = Callable[..., Any]
Start = Callable[..., Server]

DEATH_SIGNAL_S = 0.3  # the kernel's death signal would have ended the server by then


def test_server_answers_its_password_on_loopback_only(shared: Server) -> None:
    assert shared.host == "127.0.0.1"
    assert ask(shared.url(), "SELECT current_user, inet_server_addr()::text") == [("postgres", "127.0.0.1/32")]
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(shared.url(password="wrong"), "SELECT 1")


def test_password_is_stored_privately_and_never_shown(shared: Server) -> None:
    directory = shared.data_dir.parent
    assert (directory / "password").stat().st_mode & 0o777 == 0o600
    assert shared.password not in repr(shared)
    assert shared.password not in (directory / "postgres.log").read_text()


def test_url_escapes_what_a_url_cannot_carry() -> None:
    server = Server(host="127.0.0.1", port=5, data_dir=Path("/"), password="a/b@c")
    assert server.url() == "postgresql://postgres:a%2Fb%40c@127.0.0.1:5/postgres"
    assert server.url(database="d?", user="u:", password="") == "postgresql://u%3A:@127.0.0.1:5/d%3F"


def test_settings_are_those_of_a_ledger(shared: Server) -> None:
    names = ["timezone", "max_connections", "shared_buffers", "server_encoding", "unix_socket_directories", "fsync"]
    [row] = ask(shared.url(), "SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
    assert row == ("UTC", "500", "128MB", "UTF8", "", "off")


@pytest.mark.parametrize("version", [16, 18])
def test_data_port_and_password_persist_over_a_restart(tmp_path: Path, version: int) -> None:
    with running(tmp_path / "pg", version=version) as first:
        ask(first.url(), "CREATE TABLE kept AS SELECT 42 AS n")
        [(number, fsync)] = ask(first.url(), "SELECT current_setting('server_version_num'), current_setting('fsync')")
        assert (number[:2], fsync) == (str(version), "on")
    with pytest.raises(OSError, match="Connect call failed"):
        ask(first.url(), "SELECT 1")
    with running(tmp_path / "pg", version=version) as second:
        assert second == first
        assert ask(second.url(), "SELECT n FROM kept") == [(42,)]
    other = {16: 18, 18: 16}[version]
    with (
        pytest.raises(PostgresUnavailable, match=f"cluster of PostgreSQL {version} and cannot be opened by {other}"),
        running(tmp_path / "pg", version=other),
    ):
        pass


def test_server_outlives_the_thread_that_started_it(pg: Path, start: Start) -> None:
    started: list[Server] = []
    thread = threading.Thread(target=lambda: started.append(start(pg)))
    thread.start()
    thread.join()
    time.sleep(DEATH_SIGNAL_S)
    assert ask(started[0].url(), "SELECT 1") == [(1,)]


def test_unknown_version_is_refused(tmp_path: Path, start: Start) -> None:
    with pytest.raises(PostgresUnavailable, match="no embedded PostgreSQL 12; choose one of 16, 18"):
        start(tmp_path / "pg", version=12)
    assert not (tmp_path / "pg").exists()


def test_spaces_other_scripts_and_long_paths_below_a_private_folder_work(tmp_path: Path, start: Start) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    directory = private / "a 'quoted' $HOME" / "größe 金庫" / ("x" * 200) / "pg"
    server = start(directory)
    assert ask(server.url(), "SELECT current_setting('data_directory')") == [(str(server.data_dir),)]
    assert private.stat().st_mode & 0o777 == 0o700
    assert private.stat().st_uid == os.geteuid()


def test_foreign_folder_is_refused_and_left_alone(tmp_path: Path, start: Start) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(PostgresUnavailable, match="not empty and not a PostgreSQL directory of ours"):
        start(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(PostgresUnavailable, match="cannot be used for PostgreSQL"):
        start(tmp_path / "thesis.txt")


def test_second_start_of_one_directory_is_refused_in_the_same_process(pg: Path, start: Start) -> None:
    server = start(pg)
    with pytest.raises(PostgresUnavailable, match=f"process {os.getpid()}, this one, already runs"):
        start(pg)
    assert ask(server.url(), "SELECT 1") == [(1,)]
    stop(server)
    stop(server)
    start(pg)


def test_second_service_on_one_directory_is_refused_by_name(pg: Path, start: Start, service: Begin) -> None:
    first = service(pg)
    with pytest.raises(PostgresUnavailable, match=f"process {first.process.pid} already runs"):
        start(pg)
    assert ask(first.facts["url"], "SELECT 1") == [(1,)]


@pytest.mark.long
def test_a_taken_port_is_replaced_unless_it_was_asked_for(pg: Path, start: Start) -> None:
    first = start(pg)
    stop(first)
    with socket.create_server((first.host, first.port)):
        with pytest.raises(PostgresUnavailable, match=f"port {first.port} .* is taken by another program"):
            start(pg, port=first.port)
        second = start(pg)
    assert second.port != first.port
    assert ask(second.url(), "SELECT 1") == [(1,)]


@pytest.mark.long
def test_what_postgres_says_is_in_the_error_and_the_directory_is_free_again(pg: Path, start: Start) -> None:
    server = start(pg)
    stop(server)
    configuration = server.data_dir / "postgresql.conf"
    sound = configuration.read_text()
    configuration.write_text("work_mem = 'plenty'\n")
    with pytest.raises(PostgresUnavailable, match=r'did not start.*\n.*invalid value for parameter "work_mem"'):
        start(pg)
    configuration.write_text(sound)
    (server.data_dir.parent / "password").rename(pg.with_name("password"))
    with pytest.raises(PostgresUnavailable, match="password is gone"):
        start(pg)
    (pg.with_name("password")).rename(server.data_dir.parent / "password")
    start(pg)


@pytest.mark.long
def test_a_changed_password_is_told_apart_from_a_server_that_is_down(pg: Path, start: Start) -> None:
    server = start(pg)
    ask(server.url(), "ALTER ROLE postgres PASSWORD 'other'")
    stop(server)
    with pytest.raises(PostgresUnavailable, match="refuses the superuser"):
        start(pg)


def test_log_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "LOG_BYTES_MAX", 1_000)
    ours = folder.claim(tmp_path / "pg")
    try:
        log = ours.open_log()
        os.write(log, b"a" * 900 + b"b" * 900)
        ours.shrink_log()
        os.write(log, b"c")
        os.close(log)
    finally:
        ours.release()
    assert (tmp_path / "pg" / "postgres.log").read_bytes() == b"c"
    assert (tmp_path / "pg" / "postgres.log.1").read_bytes() == b"a" * 100 + b"b" * 900


@pytest.mark.long
def test_the_port_is_known_while_a_service_runs_and_unknown_before_and_after(pg: Path, service: Begin) -> None:
    assert running_port(pg) is None
    begun = service(pg)
    assert running_port(pg) == begun.facts["port"]
    begun.end()
    assert running_port(pg) is None


@pytest.mark.long
def test_a_pid_file_that_lies_or_says_that_the_server_stops_gives_no_port(pg: Path, start: Start) -> None:
    server = start(pg)
    assert running_port(pg) == server.port
    for line, lie in ((0, str(os.getpid())), (7, "stopping")):
        pidfile = server.data_dir / "postmaster.pid"
        truth = pidfile.read_text()
        lines = truth.splitlines()
        pidfile.write_text("\n".join([*lines[:line], lie, *lines[line + 1 :]]) + "\n")
        assert running_port(pg) is None
        pidfile.write_text(truth)
    assert running_port(pg) == server.port


@pytest.mark.long
def test_looking_for_a_running_server_does_not_give_its_lock_up(pg: Path, start: Start, service: Begin) -> None:
    start(pg)
    assert running_port(pg) is not None
    assert "already runs" in service(pg).facts["refused"]
