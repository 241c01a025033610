"""Every method of every proto has a permission, and methods that change something need `write`."""

import importlib

import pytest

from signet.security.permissions import PERMISSIONS, Permission, needed_permission
from tests.conftest import ROOT


def _methods() -> set[str]:
    found = set()
    for path in sorted((ROOT / "proto/signet/v1").glob("*.proto")):
        file = importlib.import_module(f"signet.v1.{path.stem}_pb2").DESCRIPTOR
        for service in file.services_by_name.values():
            found |= {f"{service.full_name}/{method.name}" for method in service.methods}
    return found


def test_every_method_of_every_proto_is_in_the_table() -> None:
    own = {method for method in PERMISSIONS if method.startswith("signet.")}
    assert own == _methods()


@pytest.mark.parametrize("method", sorted(_methods()))
def test_only_methods_that_change_nothing_need_read(method: str) -> None:
    reading = ("Get", "List", "Watch", "Recognize", "Transcribe", "ExtractClip", "ExtractStream", "Export")
    name = method.rpartition("/")[2]
    assert (needed_permission(method) is Permission.READ) == name.startswith(reading)


def test_health_needs_no_token_and_an_unknown_method_needs_admin() -> None:
    assert needed_permission("grpc.health.v1.Health/Check") is None
    assert needed_permission("grpc.health.v1.Health/Watch") is None
    assert needed_permission("signet.v1.Trainer/NewMethod") is Permission.ADMIN
    assert needed_permission("grpc.health.v1.Healthy/Check") is Permission.ADMIN


def test_a_higher_permission_includes_the_lower_ones() -> None:
    assert Permission.READ < Permission.WRITE < Permission.ADMIN
    assert [str(Permission.parse(name)) for name in ("read", "write", "admin")] == ["read", "write", "admin"]
