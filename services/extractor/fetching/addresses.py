"""Which network addresses a redirect may lead to.

A server on the internet must not make this machine send requests to itself, to its private network, or to the
metadata service of a cloud, which is at a link-local address.
"""

import ipaddress
import socket

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses of IPv6 that a gateway translates to the IPv4 address in their last 32 bits.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the internet."""
    address = _parse(text)
    return address is not None and address.is_global and not address.is_multicast


def is_local(text: str) -> bool:
    """Whether an IP address belongs to this machine or to a private network, and is not link-local."""
    address = _parse(text)
    return address is not None and (address.is_private or address.is_loopback) and not address.is_link_local


def is_local_host(host: str) -> bool:
    """Whether a host name, or an address as text, leads to an address that is not public."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False
    return any(not is_public(address) for address in found)


def _parse(text: str) -> IpAddress | None:
    """The address, or the IPv4 address inside of it; None if the text is none."""
    try:
        address: IpAddress = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
        return address.ipv4_mapped or address.sixtofour or address
    return address
