"""Which hosts only this machine reaches."""

import pytest

from signet.security.hosts import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_hosts_of_this_machine_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "localhost.example.org", "127.0.0.1.nip.io"])  # noqa: S104
def test_other_hosts_are_not_of_this_machine(host: str) -> None:
    assert not is_loopback(host)
