"""Where the door connects to: what names say, what TLS asks for, and that nobody is asked twice."""

import asyncio
import socket
import ssl
import threading

import pytest

from outbound.door import ADDRESSES_MAX, NotSent
from outbound.guarding import Forbidden
from outbound.names import Names
from tests.outbound.receivers import CERTIFICATE, NAME, PUBLIC, Elsewhere, Says, answer, hang, raw, reset

INSIDE = ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "0.0.0.0", "10.0.0.1", "fd00::1"]  # noqa: S104


async def test_tls_asks_for_the_name_whatever_the_address(receiver, door, trusted):
    there = await receiver(raw(answer()), tls=True)
    lookup, network = Says([[PUBLIC]]), Elsewhere()
    out = door(allow_private=False, lookup=lookup, network=network)
    assert (await out.post(f"https://{NAME}:{there.port}/", b"{}", {})).status == 200
    assert (lookup.asked, network.addresses, there.names) == ([NAME], [PUBLIC], [NAME])
    assert there.calls[0].headers["host"] == f"{NAME}:{there.port}"


@pytest.mark.parametrize("later", INSIDE)
async def test_a_name_that_says_something_else_the_second_time_is_not_asked_a_second_time(
    receiver, door, trusted, later
):
    there = await receiver(raw(answer()), tls=True)
    lookup, network = Says([[PUBLIC], [later]]), Elsewhere()
    out = door(allow_private=False, lookup=lookup, network=network)
    url = f"https://{NAME}:{there.port}/"
    assert (await out.post(url, b"{}", {})).status == 200
    assert (lookup.asked, network.addresses) == ([NAME], [PUBLIC])
    # The next call asks anew, is told the address inside, and goes nowhere.
    with pytest.raises(NotSent, match="may not be called"):
        await out.post(url, b"{}", {})
    assert (len(lookup.asked), network.addresses, there.connections) == (2, [PUBLIC], 1)


async def test_the_systems_sockets_are_given_the_address_and_never_the_name(receiver, door, monkeypatch):
    there = await receiver(raw(answer()))
    looked_up = []
    resolve = socket.getaddrinfo

    def rebinding(host, *others, **named):
        looked_up.append(host)
        return resolve("127.0.0.1" if looked_up.count(NAME) == 1 else "127.0.0.2", *others, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert (await door().post(f"http://{NAME}:{there.port}/", b"{}", {})).status == 200
    assert looked_up == [NAME]


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("others", [[], [PUBLIC]])
async def test_one_address_inside_among_a_names_addresses_is_enough_to_go_nowhere(receiver, door, inside, others):
    there = await receiver(first=hang)
    network = Elsewhere()
    for addresses in ([*others, inside], [inside, *others]):
        out = door(allow_private=False, lookup=Says([addresses]), network=network)
        with pytest.raises(NotSent, match="may not be called") as raised:
            await out.post(f"https://{NAME}:{there.port}/", b"{}", {})
        assert inside not in raised.value.reason
    assert (network.addresses, there.connections) == ([], 0)


async def test_an_address_in_the_url_is_checked_and_not_looked_up(receiver, door):
    there = await receiver(raw(answer()))
    lookup, network = Says([[PUBLIC]]), Elsewhere()
    closed = door(allow_private=False, lookup=lookup, network=network)
    for host in ("127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1"):
        with pytest.raises(NotSent):
            await closed.post(f"https://{host}:{there.port}/", b"{}", {})
    with pytest.raises(NotSent, match="scheme"):
        await closed.post(there.url, b"{}", {})
    assert (network.addresses, there.connections) == ([], 0)
    open_ = door(lookup=lookup, network=network)
    assert (await open_.post(f"http://[::1]:{there.port}/", b"{}", {})).status == 200
    assert (lookup.asked, network.addresses) == ([], ["::1"])
    assert there.calls[0].headers["host"] == f"[::1]:{there.port}"


async def test_localhost_by_its_name_is_inside_too(receiver, door):
    there = await receiver(raw(answer()))
    with pytest.raises(NotSent, match="may not be called"):
        await door(allow_private=False).post(f"https://localhost:{there.port}/", b"{}", {})
    assert not there.connections


async def test_an_address_that_takes_no_connection_is_followed_by_the_next_up_to_a_bound(receiver, door):
    there = await receiver(raw(answer()))
    dead = [f"10.0.0.{n}" for n in range(ADDRESSES_MAX)]
    network = Elsewhere(dead=dead)
    out = door(lookup=Says([[*dead[:2], "10.1.1.1"], [*dead, "10.1.1.1"]]), network=network)
    assert (await out.post(f"http://{NAME}:{there.port}/", b"{}", {})).status == 200
    assert network.addresses == [*dead[:2], "10.1.1.1"]
    with pytest.raises(NotSent, match="no connection"):
        await out.post(f"http://{NAME}:{there.port}/", b"{}", {})
    assert network.addresses[3:] == dead


async def test_a_certificate_of_a_stranger_or_of_another_name_is_refused(receiver, door, monkeypatch):
    there = await receiver(raw(answer()), tls=True)
    stranger = door(lookup=Says([["127.0.0.1"]]))
    with pytest.raises(NotSent, match="no secure one"):
        await stranger.post(f"https://{NAME}:{there.port}/", b"{}", {})
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    trusting = door(lookup=Says([["127.0.0.1"]]))
    assert (await trusting.post(f"https://{NAME}:{there.port}/", b"{}", {})).status == 200
    for host in ("other.test", "127.0.0.1"):
        with pytest.raises(NotSent, match="no secure one"):
            await trusting.post(f"https://{host}:{there.port}/", b"{}", {})
    assert len(there.calls) == 1


@pytest.mark.parametrize("nonsense", [raw(b"HTTP/1.1 200 OK\r\n\r\n"), raw(b"\x16\x03\x03\xff\xff" * 99), raw(), reset])
async def test_a_receiver_that_talks_nonsense_for_tls_is_not_sent_to(receiver, door, nonsense):
    there = await receiver(first=nonsense)
    with pytest.raises(NotSent, match=r"no secure one|broke"):
        await door().post(f"https://127.0.0.1:{there.port}/", b"{}", {})


async def test_a_receiver_that_hangs_in_its_handshake_gets_no_more_time_than_there_is(receiver, door):
    there = await receiver(first=hang)
    with pytest.raises(NotSent, match="in time"):
        await door(timeout_s=0.15).post(f"https://127.0.0.1:{there.port}/", b"{}", {})


def test_plain_tls_is_verified_with_at_least_version_1_2(door):
    out = door()
    assert out._tls.verify_mode is ssl.CERT_REQUIRED
    assert out._tls.check_hostname
    assert out._tls.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_a_name_that_nobody_knows_is_not_sent_to(door):
    async def unknown(_):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(NotSent, match="could not be resolved"):
        await door(lookup=unknown).post(f"http://{NAME}/", b"{}", {})


async def test_a_name_that_hangs_keeps_one_thread_and_delays_no_other(receiver, door, monkeypatch):
    there = await receiver(raw(answer()))
    answered, asked, resolve = threading.Event(), [], socket.getaddrinfo

    def getaddrinfo(host, *others, **named):
        asked.append(host)
        if host == "hangs.test":
            answered.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")
        return resolve("127.0.0.1", *others, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    out = door()
    hanging = [asyncio.create_task(out.post(f"http://hangs.test:{port}/", b"{}", {})) for port in range(1, 41)]
    await asyncio.sleep(0)
    assert (await out.post(f"http://{NAME}:{there.port}/", b"{}", {})).status == 200
    assert not any(call.done() for call in hanging)
    answered.set()
    ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert {str(end) for end in ends} == {"the name could not be resolved"}
    assert sorted(asked) == ["hangs.test", NAME]


async def test_a_name_that_hangs_gets_no_more_time_than_there_is(door):
    async def hanging(_):
        await asyncio.Event().wait()

    with pytest.raises(NotSent, match="in time"):
        await door(timeout_s=0.1, lookup=hanging).post(f"http://{NAME}/", b"{}", {})


async def test_names_are_looked_up_anew_each_time():
    names = Names()
    first = await asyncio.gather(names.lookup("localhost"), names.lookup("localhost"))
    assert first[0] == first[1] == await names.lookup("localhost")
    assert set(first[0]) <= {"127.0.0.1", "::1"}
    assert first[0]
    with pytest.raises(OSError, match=r".*"):
        await names.lookup("-")
    names.close()


def test_what_can_be_seen_in_a_url_is_told_without_a_call(door):
    door().check("http://127.0.0.1:8080/")
    door(allow_private=False).check("https://hooks.example/")
    with pytest.raises(Forbidden):
        door(allow_private=False).check("http://hooks.example/")
