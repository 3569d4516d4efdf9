"""`purser serve` from nothing, stopped, killed and started again."""

import os
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api.running import remembered
from api.running.children import is_free
from tests.service import free_port, until
from tests.serving.purser import ANSWER_TIMEOUT_S, descendants, is_alive, named, serving, sign_up, typed, whoami

PRIVATE = 0o600


def port_of(url: str) -> int:
    return int(urlsplit(url).port or 0)


def sandbox_port(folder: Path) -> int:
    port = remembered.recall(folder / ".purser").sandbox_port
    assert port is not None
    return port


def test_serve_starts_from_nothing_and_leaves_no_process_no_port_and_no_secret_behind(folder):
    with serving(folder) as service:
        health = httpx.get(f"{service.url}/healthz", timeout=ANSWER_TIMEOUT_S).json()
        until(lambda: "Ctrl-C" in service.said(), within_s=ANSWER_TIMEOUT_S)
        checked = typed(folder, "check")
        books = typed(folder, "books", "org_platform")
        known = remembered.recall(folder / ".purser")
        secrets = (known.service_password, known.migrator_password, known.webhook_secret, known.stripe_secret_key)
        shown = [secret for secret in secrets if named(descendants(service.process.pid), secret)]
        status = service.end(signal.SIGTERM)
    assert health["ok"]
    assert health["data"]["status"] == "ok"
    assert f"Purser serves at  {service.url}" in service.said()
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WRONG" not in checked.stdout
    assert books.returncode == 0, books.stderr
    assert "The books of org_platform" in books.stdout
    assert status == 0, service.said()
    assert len(service.family) >= 3
    assert service.left_over() == set()
    assert is_free("127.0.0.1", port_of(service.url))
    assert is_free("127.0.0.1", sandbox_port(folder))
    assert (folder / ".purser" / remembered.FILE).stat().st_mode & 0o777 == PRIVATE
    assert not shown, "a secret stands on a command line"
    for secret in secrets:
        assert secret not in service.said() + checked.stdout + repr(known)


@pytest.mark.long
def test_an_agents_token_still_works_after_ctrl_c_and_after_kill_dash_nine_which_leaves_no_orphan(folder):
    with serving(folder) as service:
        token = sign_up(service.url)["data"]["token"]
        assert service.end(signal.SIGINT) == 0, service.said()
        port = sandbox_port(folder)
    with serving(folder) as service:
        assert whoami(service.url, token).json()["data"]["authenticated"] is True
        assert sandbox_port(folder) == port, "stored links lead to the pages of the sandbox"
        assert named(service.family, "bin/postgres")
        assert named(service.family, "sandbox")
        assert named(service.family, "spawn_main")
        service.end(signal.SIGKILL)
        assert service.left_over() == set()
    with serving(folder, port=port_of(service.url)) as service:
        assert whoami(service.url, token).status_code == 200


@pytest.mark.long
def test_a_killed_server_process_is_replaced_and_a_second_service_on_the_same_data_is_refused(standing):
    [worker] = named(descendants(standing.process.pid), "spawn_main")
    os.kill(worker, signal.SIGKILL)
    until(lambda: not is_alive(worker), within_s=ANSWER_TIMEOUT_S)
    assert until(lambda: answers(f"{standing.url}/readyz"), within_s=ANSWER_TIMEOUT_S)
    second = typed(standing.folder, "serve", "--port", str(free_port()))
    assert second.returncode == 1
    assert "already runs the PostgreSQL of" in second.stderr
    assert "Traceback" not in second.stderr


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_port_in_use_is_said_in_a_sentence_with_a_way_out(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = typed(folder, "serve", "--port", str(port))
    assert ended.returncode == 1
    assert f"Port {port} of 127.0.0.1 is in use" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (folder / ".purser").exists(), "nothing was started for nothing"
