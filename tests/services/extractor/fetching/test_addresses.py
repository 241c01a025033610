"""Which addresses belong to the internet, and which to this machine and its network."""

import pytest

from services.extractor.fetching.addresses import is_local, is_local_host, is_public


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)
    assert not is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "::1", "fd00::1", "::ffff:127.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_addresses_of_this_machine_and_its_network_are_local(address: str) -> None:
    assert is_local(address)
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "name", ""]
)
def test_link_local_addresses_and_names_are_neither(address: str) -> None:
    assert not is_public(address)
    assert not is_local(address)


@pytest.mark.parametrize("address", ["224.0.0.1", "ff02::1", "0.0.0.0", "100.64.0.1"])  # noqa: S104
def test_other_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.1", True), ("2130706433", True), ("0x7f.0x1", True),
        ("[::1]", True), ("printer", True), ("nas.local", True), ("metadata.google.internal", True),
        ("www.handspeak.com", False), ("93.184.216.34", False), ("localhost.example.org", False),
    ],
)  # fmt: skip
def test_a_host_is_local_by_its_text(host: str, local: bool) -> None:
    assert is_local_host(host) is local
