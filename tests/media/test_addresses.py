"""Which addresses may be connected to: both ends of every closed block, and their open neighbours, on any Python."""

from __future__ import annotations

import ipaddress

import pytest

from unmask.media.addresses import public

# First and last address of each block of the IANA registries, and of clouds' own.
CLOSED = [
    "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.0.0", "169.254.169.254", "169.254.255.255",
    "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.8", "192.0.0.9", "192.0.0.170", "192.0.0.192", "192.0.0.255",
    "192.0.2.0", "192.0.2.255", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.88.99.255", "192.168.0.0",
    "192.168.255.255", "192.175.48.1", "198.18.0.0", "198.19.255.255", "198.51.100.1", "203.0.113.255", "224.0.0.0",
    "239.255.255.255", "240.0.0.0", "255.255.255.255",
    "::", "::1", "::7f00:1", "::808:808", "::ffff:127.0.0.1", "::ffff:192.0.0.192", "64:ff9b::7f00:1",
    "64:ff9b::c000:c0", "64:ff9b::a9fe:a9fe", "64:ff9b:1::", "64:ff9b:1::808:808", "64:ff9b:1:ffff::1", "100::1",
    "100:0:0:1::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:20::1",
    "2001:1ff:ffff:ffff::1", "2001:db8::1", "2001:db8:ffff::1", "2002::1", "2002:808:808::1", "2620:4f:8000::1",
    "3fff::1", "3fff:fff:ffff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1",
    "ff02::1",
]  # fmt: skip
OPEN = [
    "1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
    "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
    "203.0.112.255", "203.0.114.0", "223.255.255.255",
    "::ffff:8.8.8.8", "64:ff9b::808:808", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1",
    "2606:4700::1111", "2a00::1", "3ffe::1", "3fff:1000::1",
]  # fmt: skip


@pytest.mark.parametrize("text", CLOSED)
def test_closed(text: str) -> None:
    assert not public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", OPEN)
def test_open(text: str) -> None:
    assert public(ipaddress.ip_address(text))


def test_nothing_that_python_calls_private_is_open() -> None:
    """Whatever this Python knows of private ground is closed here, too."""
    for high in [*range(0, 1 << 16, 16), 192 << 8, 192 << 8 | 168, 198 << 8 | 18, 169 << 8 | 254]:
        address = ipaddress.IPv4Address(high << 16 | 1)
        assert not (public(address) and not address.is_global), address
