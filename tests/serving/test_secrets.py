"""What a stranger on the same machine, or in the operator's folder, must not get."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from api.running import children, embedding, remembered
from tests.serving.conftest import plant
from tests.serving.purser import descendants, named, serving, typed

PRIVATE = 0o600


@pytest.mark.long
def test_a_module_in_the_operators_folder_is_not_run_by_the_service(standing):
    assert named(descendants(standing.process.pid), "spawn_main")
    ran = standing.folder / "ran"
    assert not ran.exists(), ran.read_text()


@pytest.mark.long
def test_the_installed_command_does_not_run_modules_of_the_folder_either(folder, tmp_path):
    script = tmp_path / "purser"
    script.write_text("from api.cli import main\nif __name__ == '__main__':\n    main()\n")
    plant(folder)
    with serving(folder, command=[sys.executable, str(script)]) as service:
        assert named(service.family, "spawn_main")
    assert not (folder / "ran").exists(), (folder / "ran").read_text()


@pytest.mark.long
def test_no_secret_stands_on_a_command_line_and_the_logs_are_private_and_follow_no_link(standing):
    known, family = remembered.recall(standing.folder / ".purser"), descendants(standing.process.pid)
    assert named(family, "sandbox")
    for secret in (known.webhook_secret, known.stripe_secret_key, known.service_password, known.migrator_password):
        assert not named(family, secret)
    log = standing.folder / ".purser" / "sandbox.log"
    assert (standing.folder / "treasure").read_text() == "mine"
    assert not log.is_symlink()
    assert log.stat().st_mode & 0o777 == PRIVATE
    assert "sandbox ready" in log.read_text()


def test_a_log_is_opened_anew_and_privately(tmp_path):
    log, treasure = tmp_path / "some.log", tmp_path / "treasure"
    treasure.write_text("mine")
    log.hardlink_to(treasure)
    with children.new_log(log) as opened:
        opened.write(b"said")
    assert (log.read_text(), treasure.read_text()) == ("said", "mine")
    assert log.stat().st_mode & 0o777 == PRIVATE


@contextmanager
def password_thief() -> Iterator[tuple[int, list[bytes]]]:
    """A listener that asks everybody for a cleartext password, as PostgreSQL's protocol allows; and what it was told.

    AuthenticationCleartextPassword is 'R', length 8, code 3 (PostgreSQL documentation, Message Formats).
    """
    told: list[bytes] = []

    def ask_for_it() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.settimeout(3)
                    told.append(connection.recv(4096))
                    connection.sendall(b"R\0\0\0\x08\0\0\0\x03")
                    told.append(connection.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=ask_for_it, daemon=True).start()
        yield listener.getsockname()[1], told
        listener.shutdown(socket.SHUT_RDWR)


def test_a_stranger_on_the_port_of_a_stopped_service_is_told_nothing(tmp_path):
    data_dir = tmp_path / ".purser"
    known = remembered.recall(data_dir)
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "purser-postgres.lock").touch()
    with password_thief() as (port, told):
        (data_dir / "postgres" / "state.json").write_text(json.dumps({"port": port}))
        assert embedding.running_port(data_dir, known) is None
    assert told == []


def test_the_passwords_of_the_embedded_database_are_made_anew_at_each_start(folder):
    assert typed(folder, "migrate").returncode == 0
    first = remembered.recall(folder / ".purser")
    assert typed(folder, "migrate").returncode == 0
    second = remembered.recall(folder / ".purser")
    assert first.service_password != second.service_password
    assert first.migrator_password != second.migrator_password
    assert (first.webhook_secret, first.stripe_secret_key) == (second.webhook_secret, second.stripe_secret_key)


@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_real_database_without_a_stripe_key_is_refused_and_not_given_a_sandbox(folder, key):
    settings = {"PURSER_DATABASE_URL": "postgresql://someone@127.0.0.1:1/real"}
    if key is not None:
        settings["PURSER_STRIPE_SECRET_KEY"] = key
    for command in ("serve", "check"):
        ended = typed(folder, command, **settings)
        said = ended.stdout + ended.stderr
        assert ended.returncode == (2 if command == "serve" else 1), said
        assert "PURSER_DATABASE_URL" in said
        assert "PURSER_STRIPE_SECRET_KEY" in said
        assert "PURSER_SANDBOX" in said
    assert not (folder / ".purser").exists()


def test_the_sandbox_beside_a_real_key_is_refused(folder):
    ended = typed(
        folder, "serve", PURSER_SANDBOX="true", PURSER_STRIPE_SECRET_KEY="sk_test_x", PURSER_STRIPE_WEBHOOK_SECRETS="w"
    )
    assert ended.returncode == 2
    assert "PURSER_SANDBOX" in ended.stderr
