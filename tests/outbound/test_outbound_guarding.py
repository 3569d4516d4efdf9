import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbound.guarding import Forbidden, Target, check, target

ANY = "0.0.0.0"  # noqa: S104 - it is refused, not bound
NEVER = [
    ANY, "0.1.2.3", "169.254.169.254", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.51.100.1", "203.0.113.9",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "100.100.100.200", "168.63.129.16",
    "::", "::ffff:0.0.0.0", "::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::169.254.169.254",
    "64:ff9b:1::10.0.0.1", "100::1", "2001::1", "2001:db8::1", "2002:a00:1::", "3fff::1", "5f00::1", "fe80::1",
    "fe80::1%eth0", "fec0::1", "ff02::1", "fd00:ec2::254", "2606:4700::1111%eth0", "localhost", "",
]  # fmt: skip
PRIVATE = [
    "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "198.18.0.1", "::1", "fc00::1", "fd12:3456::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::10.0.0.1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "9.255.255.255", "11.0.0.0", "93.184.215.14", "100.128.0.1", "172.32.0.1", "192.169.0.1",
    "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_called(address, allow_private):
    with pytest.raises(Forbidden):
        check([address], allow_private=allow_private)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_called_only_where_that_is_allowed(address):
    check([address], allow_private=True)
    with pytest.raises(Forbidden):
        check([address], allow_private=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_called(address):
    check([address], allow_private=False)


@pytest.mark.parametrize("private", PRIVATE)
def test_one_private_address_among_public_ones_is_enough_to_refuse(private):
    for addresses in ([*PUBLIC, private], [private, *PUBLIC]):
        with pytest.raises(Forbidden):
            check(addresses, allow_private=False)


def test_a_name_without_an_address_is_refused():
    with pytest.raises(Forbidden):
        check([], allow_private=True)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_python_does_not_call_global_is_never_called_as_public(address):
    try:
        check([str(address)], allow_private=False)
    except Forbidden:
        return
    judged = getattr(address, "ipv4_mapped", None) or address
    assert judged.is_global
    assert not judged.is_multicast
    assert not judged.is_reserved or address in ipaddress.ip_network("64:ff9b::/96")


def test_a_url_leads_where_it_says():
    assert target("https://Hooks.example/a/b?c=d%20e", allow_private=False) == Target(
        "https", "hooks.example", 443, b"/a/b?c=d%20e"
    )
    assert target("https://[2606:4700::1111]:8443", allow_private=False) == Target(
        "https", "2606:4700::1111", 8443, b"/"
    )
    assert target("http://a_b.internal:8080/", allow_private=True) == Target("http", "a_b.internal", 8080, b"/")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/", "ftp://hooks.example/", "file:///etc/passwd", "//hooks.example/", "hooks.example", "",
        "https://", "https:///x", "https://user:hunter2@hooks.example/", "https://user@hooks.example/",
        "https://:@hooks.example/", "https://good.example@127.0.0.1/", "https://good.example\\@127.0.0.1/",
        "https://hooks.example/#fragment", "https://hooks.example/a b", "https://hooks.example/\r\nX: y",
        "https://hooks.example:0/", "https://hooks.example:65536/", "https://hooks.example:99999999/",
        "https://hooks.example:x/", "https://hooks.example:-1/", "https://hooks.example./", "https://.example/",
        "https://a..b/", "https://-a.example/", "https://ex%61mple.com/", "https://127.0.0.1%2f.example/",
        "https://" + "a" * 64 + ".example/", "https://" + "a." * 127 + "example/", "https://xn--/",
        "https://hooks.example/" + "a" * 2048, "https://höoks.example/", "https://hooks.example/é", "https://１２７.0.0.1/",
        "https://127.0.0.1/", "https://10.0.0.1:8443/", "https://169.254.169.254/latest/meta-data/", "https://0.0.0.0/",
        "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://[::]/", "https://[fe80::1%25eth0]/",
        "https://[::1%25lo]/", "https://[::1/", "https://::1/", "https://[v1.x]/",
        "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://017700000001/",
        "https://0177.0.0.1/", "https://127.1/", "https://127.0.1/", "https://0/", "https://0x/", "https://1.2.3.4.5/",
        "https://hooks.example.123/", "https://256.1.1.1/", "https://127.0.0.1./",
    ],
)  # fmt: skip
def test_a_url_that_is_odd_or_leads_inside_is_refused_before_anything_is_looked_up(url):
    with pytest.raises(Forbidden) as raised:
        target(url, allow_private=False)
    assert "example" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "169.254.169.254", ANY])
def test_odd_spellings_and_metadata_stay_refused_where_private_addresses_are_allowed(host):
    with pytest.raises(Forbidden):
        target(f"http://{host}/", allow_private=True)
