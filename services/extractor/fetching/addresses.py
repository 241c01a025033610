"""Which network addresses a redirect may lead to.

A server on the internet must not make this machine send requests to itself, to its private network, or to the
metadata service of a cloud, which is at a link-local address.
"""

import ipaddress

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses of IPv6 that a gateway translates to the IPv4 address in their last 32 bits.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the internet."""
    address = _parse(text)
    return address is not None and address.is_global and not address.is_multicast


def is_local(text: str) -> bool:
    """Whether an IP address belongs to this machine or to a private network, and is not link-local."""
    address = _parse(text)
    return address is not None and (address.is_private or address.is_loopback) and not address.is_link_local


def is_local_host(host: str) -> bool:
    """Whether a host is local by its text: an address that is not public, or a name that the internet does not have.

    What a name leads to decides its owner. The text of an address in the metadata was chosen by the user.
    """
    name = host.strip("[]").rstrip(".").lower()
    last = name.rpartition(".")[2]
    if _parse(name) is not None:
        return not is_public(name)
    return "." not in name or name.endswith(_LOCAL_SUFFIXES) or last.isdigit() or last.startswith("0x")


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
