"""Which addresses are on the open internet: a table of our own, because Python's differs from version to version.

Sources: the IANA registries of special-purpose addresses (https://www.iana.org/assignments/iana-ipv4-special-registry
and iana-ipv6-special-registry), RFC 6890 and its updates. Special networks that anybody may serve (AS112, AMT) are
closed too, since no image lies there.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_CLOSED_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by a provider's customers; also Alibaba's metadata, 100.100.100.200
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's platform: public by number, but answered by the machine's own host
            "169.254.0.0/16",  # link-local; also the metadata of most clouds, 169.254.169.254
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; also Oracle's old metadata, 192.0.0.192
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays, withdrawn
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
# All that is given out for the open internet lies in this one block (RFC 4291, 2.4). What is outside is loopback,
# link-local, unique local (fd00:ec2::254 is Amazon's metadata), multicast, an IPv4 address in disguise, or unassigned.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: leads to the IPv4 address in it, through a relay of anybody's
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
# What a network without IPv4 writes for an IPv4 address (DNS64, RFC 6052); the local-use 64:ff9b:1::/48 is closed.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def public(address: Address) -> bool:
    """Whether an address is on the open internet, also when it is an IPv4 address in the dress of an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in net for net in _CLOSED_V4)
    if address in _NAT64:
        return public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.ipv4_mapped is not None:
        return public(address.ipv4_mapped)
    return address in _GLOBAL_V6 and not any(address in net for net in _CLOSED_V6)
