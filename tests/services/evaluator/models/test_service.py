"""The Registry over a real gRPC channel, served by a real evaluator."""

import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from services.evaluator.__main__ import evaluator
from services.evaluator.models import service
from signet import registry
from signet.datasets.snapshot import Dataset
from signet.registry import ModelCard
from signet.rpc.retry import RETRY_KEY
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token
from signet.store import DirectoryStore, keys
from signet.v1 import registry_pb2 as pb
from signet.v1 import registry_pb2_grpc
from tests.servers import serving

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


@pytest.fixture
def calls(world: "World") -> Iterator[Any]:
    """The stub of an evaluator whose registry can be written to."""
    with serving(lambda: evaluator(world.settings(registry_writes=True))) as channel:
        yield registry_pb2_grpc.RegistryStub(channel)


@pytest.fixture
def versions(world: "World", snapshot: Dataset) -> list[str]:
    """Three published versions, the oldest first."""
    return [world.publish(snapshot).version for _ in range(3)]


def refused(call: Any) -> tuple[str, str]:
    """The status code and message that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        for _ in call() or ():
            pass
    return caught.value.code().name, str(caught.value.details())


def test_versions_are_listed_newest_first_and_shown(world: "World", versions: list[str], calls: Any) -> None:
    world.store.put(keys.model("signet", versions[1], "model.json"), b"{}")
    listed = calls.ListModels(pb.ListModelsRequest()).versions
    assert [version.model_version for version in listed] == versions[::-1]
    assert [list(version.aliases) for version in listed] == [["latest"], [], []]
    assert [version.damaged for version in listed] == [False, True, False]
    first = listed[0]
    assert (first.model_name, first.run_id, first.vocabulary_size, first.parameters) == ("signet", "run-1", 6, 1234)
    assert (first.val_clips, first.val_top1, first.val_greedy_top1) == (10, 0.8, 0.7)
    assert 0 < first.val_top1_low < 0.8 < first.val_top1_high < 1
    model = calls.GetModel(pb.GetModelRequest())
    assert model.version == first
    card = registry.read_card(world.store, "signet", versions[2])
    assert ModelCard.model_validate_json(model.card_json) == card
    assert tuple(model.vocabulary) == card.vocabulary
    graph = world.store.get(keys.model("signet", versions[2], "model.onnx"))
    assert [(file.name, file.sha256, file.size) for file in model.files] == [
        ("model.onnx", card.files["model.onnx"], len(graph))
    ]


def test_an_alias_is_promoted_and_rolled_back_with_its_history(versions: list[str], calls: Any) -> None:
    first, second, _ = versions
    moved = calls.Promote(pb.PromoteRequest(model_version=first, reason="the first", expected_from="")).alias
    assert (moved.name, moved.model_version, moved.version_before) == ("production", first, "")
    moved = calls.Promote(pb.PromoteRequest(model_version=second, alias="production", expected_from=first)).alias
    assert moved.version_before == first
    moved = calls.Rollback(pb.RollbackRequest(reason="slow", expected_from=second)).alias
    assert moved == calls.GetAlias(pb.GetAliasRequest(alias="production")).alias
    assert [(move.from_version, move.to_version, move.reason, move.rollback) for move in moved.history] == [
        ("", first, "the first", False), (first, second, "", False), (second, first, "slow", True),
    ]  # fmt: skip
    assert [alias.name for alias in calls.ListAliases(pb.ListAliasesRequest()).aliases] == ["latest", "production"]


def test_an_alias_is_deleted_and_listed_only_on_request(versions: list[str], calls: Any) -> None:
    first = versions[0]
    calls.Promote(pb.PromoteRequest(model_version=first))
    request = pb.DeleteAliasRequest(alias="production", reason="no longer served", expected_from=first)
    deleted = calls.DeleteAlias(request).alias
    assert (deleted.model_version, deleted.version_before, deleted.deleted) == ("", "", True)
    last = deleted.history[-1]
    assert (last.from_version, last.to_version, last.reason, last.deleted) == (first, "", "no longer served", True)
    listed = calls.ListAliases(pb.ListAliasesRequest()).aliases
    assert [alias.name for alias in listed] == ["latest"]
    assert deleted in calls.ListAliases(pb.ListAliasesRequest(include_deleted=True)).aliases
    assert refused(lambda: calls.GetAlias(pb.GetAliasRequest(alias="production")))[0] == "NOT_FOUND"
    assert refused(lambda: calls.DeleteAlias(request)) == refused(lambda: calls.DeleteAlias(request))
    again = calls.Promote(pb.PromoteRequest(model_version=first, expected_from="")).alias
    assert (again.model_version, again.deleted, len(again.history)) == (first, False, 3)


def test_each_refusal_has_its_status(world: "World", versions: list[str], calls: Any) -> None:
    first, second, third = versions
    calls.Promote(pb.PromoteRequest(model_version=first))
    promote, rollback, delete = pb.PromoteRequest, pb.RollbackRequest, pb.DeleteModelRequest
    for call, code, words in (
        (lambda: calls.Promote(promote(model_version=second, expected_from=third)), "ABORTED", "Nothing was moved"),
        (lambda: calls.Promote(promote(model_version=second, expected_from="")), "ABORTED", "expected not to exist"),
        (lambda: calls.Promote(promote()), "INVALID_ARGUMENT", "model_version is empty"),
        (lambda: calls.Promote(promote(model_version="none")), "NOT_FOUND", "'none'"),
        (lambda: calls.Promote(promote(model_version=first, alias="a/b")), "INVALID_ARGUMENT", "cannot name a"),
        (lambda: calls.Promote(promote(model_version=first, reason="x" * 501)), "INVALID_ARGUMENT", "reason has 501"),
        (lambda: calls.Promote(promote(model_version=first, model_name="no")), "NOT_FOUND", "'no'"),
        (lambda: calls.Rollback(rollback(expected_from=third)), "ABORTED", "Nothing was moved"),
        (lambda: calls.Rollback(rollback()), "FAILED_PRECONDITION", "named no version before"),
        (lambda: calls.Rollback(rollback(alias="none")), "NOT_FOUND", "has no alias 'none'"),
        (lambda: calls.DeleteAlias(pb.DeleteAliasRequest(alias="none")), "NOT_FOUND", "has no alias 'none'"),
        (lambda: calls.DeleteAlias(pb.DeleteAliasRequest()), "INVALID_ARGUMENT", "cannot name a"),
        (
            lambda: calls.DeleteAlias(pb.DeleteAliasRequest(alias="latest", expected_from=first)),
            "ABORTED", "Nothing was moved",
        ),
        (lambda: calls.DeleteModel(delete(model_version=third)), "FAILED_PRECONDITION", "latest names it"),
        (lambda: calls.DeleteModel(delete(model_version="latest")), "INVALID_ARGUMENT", "is an alias"),
        (lambda: calls.DeleteModel(delete(model_version="none")), "NOT_FOUND", "has no version 'none'"),
        (lambda: calls.DeleteModel(delete()), "INVALID_ARGUMENT", "model_version is empty"),
        (lambda: calls.GetAlias(pb.GetAliasRequest(alias="none")), "NOT_FOUND", "has no alias"),
        (lambda: calls.GetAlias(pb.GetAliasRequest()), "INVALID_ARGUMENT", "cannot name a"),
        (lambda: calls.GetModel(pb.GetModelRequest(model_version="none")), "NOT_FOUND", "signet models"),
        (lambda: calls.ListModels(pb.ListModelsRequest(model_name="no")), "NOT_FOUND", "Models in this store: signet"),
        (lambda: calls.ExportModel(pb.ExportModelRequest()), "INVALID_ARGUMENT", "model_version is empty"),
        (lambda: calls.ExportModel(pb.ExportModelRequest(model_version="none")), "NOT_FOUND", "'none'"),
        (lambda: calls.ImportModel(iter(())), "INVALID_ARGUMENT", "is not an archive"),
    ):  # fmt: skip
        answered, message = refused(call)
        assert answered == code, message
        assert words in message
    assert registry.aliases(world.store, "signet") == {"latest": third, "production": first}
    assert registry.versions(world.store, "signet") == versions


def test_a_version_is_deleted(world: "World", versions: list[str], calls: Any) -> None:
    assert calls.DeleteModel(pb.DeleteModelRequest(model_version=versions[0])).objects == 2
    assert registry.versions(world.store, "signet") == versions[1:]


def _exported(calls: Any, version: str) -> bytes:
    answers = list(calls.ExportModel(pb.ExportModelRequest(model_version=version)))
    data = b"".join(answer.chunk for answer in answers)
    assert answers[0].size == len(data)
    assert max(len(answer.chunk) for answer in answers) <= 1 << 20
    return data


def test_a_version_is_exported_from_one_store_and_imported_into_another(
    world: "World", snapshot: Dataset, calls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = bytes(2_500_000)
    card = world.card(snapshot, large)
    registry.publish(world.store, card, {"model.onnx": large})
    data = _exported(calls, "latest")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames()[1:] == ["signet-model/model.json", "signet-model/model.onnx"]
    other = type(world)(tmp_path / "other")
    with serving(lambda: evaluator(other.settings(registry_writes=True))) as channel:
        importing = registry_pb2_grpc.RegistryStub(channel)

        def chunks(size: int) -> Iterator[pb.ImportModelRequest]:
            for start in range(0, len(data), size):
                yield pb.ImportModelRequest(chunk=data[start : start + size])

        answer = importing.ImportModel(chunks(100_000))
        assert (answer.model_name, answer.model_version, answer.is_new) == ("signet", card.version, True)
        assert not importing.ImportModel(chunks(4 << 20)).is_new
        assert registry.read_file(other.store, card, "model.onnx") == large
        assert _exported(importing, card.version) == data
        monkeypatch.setattr(service, "MAX_CHUNK_BYTES", 1000)
        assert refused(lambda: importing.ImportModel(chunks(2000))) == (
            "INVALID_ARGUMENT", "a chunk has 2000 bytes; at most 1000 are allowed. Send smaller chunks.",
        )  # fmt: skip
        monkeypatch.setattr(service, "MAX_TRANSFER_BYTES", 5000)
        assert refused(lambda: importing.ImportModel(chunks(1000)))[0] == "INVALID_ARGUMENT"
        code, message = refused(lambda: importing.ExportModel(pb.ExportModelRequest(model_version=card.version)))
        assert (code, "signet models export" in message) == ("FAILED_PRECONDITION", True)


def test_a_damaged_archive_is_refused_and_nothing_is_stored(world: "World", versions: list[str], calls: Any) -> None:
    data = bytearray(_exported(calls, versions[0]))
    data[5000] ^= 1
    before = [info.key for info in world.store.list("")]
    code, message = refused(lambda: calls.ImportModel(iter([pb.ImportModelRequest(chunk=bytes(data))])))
    assert (code, message.startswith("the archive: ")) == ("INVALID_ARGUMENT", True)
    assert [info.key for info in world.store.list("")] == before


def test_a_second_import_at_the_same_time_is_told_to_retry(calls: Any) -> None:
    stream = iter([pb.ImportModelRequest(chunk=b"x")])

    def slow() -> Iterator[pb.ImportModelRequest]:
        yield next(stream)
        with pytest.raises(grpc.RpcError) as caught:
            calls.ImportModel(iter([pb.ImportModelRequest(chunk=b"y")]))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert RETRY_KEY in dict(caught.value.trailing_metadata())

    assert refused(lambda: calls.ImportModel(slow()))[0] == "INVALID_ARGUMENT"
    assert refused(lambda: calls.ImportModel(iter(())))[0] == "INVALID_ARGUMENT", "the place is free again"


def test_an_import_that_stalls_is_ended(calls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_CHUNK_SECONDS", 0.2)
    ended = threading.Event()

    def stalled() -> Iterator[pb.ImportModelRequest]:
        yield pb.ImportModelRequest(chunk=b"x" * 10)
        ended.wait(timeout=20)

    with pytest.raises(grpc.RpcError) as caught:
        calls.ImportModel(stalled(), timeout=20)
    ended.set()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "is not complete after 10 bytes" in caught.value.details()


def test_an_evaluator_that_may_not_write_only_reads(world: "World", versions: list[str]) -> None:
    with serving(lambda: evaluator(world.settings())) as channel:
        calls = registry_pb2_grpc.RegistryStub(channel)
        assert len(calls.ListModels(pb.ListModelsRequest()).versions) == 3
        assert len(_exported(calls, versions[0])) > 1000
        for call in (
            lambda: calls.Promote(pb.PromoteRequest(model_version=versions[0])),
            lambda: calls.Rollback(pb.RollbackRequest(alias="latest")),
            lambda: calls.DeleteModel(pb.DeleteModelRequest(model_version=versions[0])),
            lambda: calls.ImportModel(iter([pb.ImportModelRequest(chunk=b"x")])),
        ):
            code, message = refused(call)
            assert (code, "--registry-writes" in message) == ("FAILED_PRECONDITION", True)
    assert isinstance(world.store, DirectoryStore)
    assert registry.aliases(world.store, "signet") == {"latest": versions[2]}


def test_with_tokens_their_permission_decides(world: "World", versions: list[str], tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    tokens = {
        str(permission): create_token(path, str(permission), TokenLimits(permission))
        for permission in (Permission.READ, Permission.WRITE)
    }
    with serving(lambda: evaluator(world.settings(tokens_file=path))) as channel:
        calls = registry_pb2_grpc.RegistryStub(channel)

        def promote(permission: str) -> Any:
            metadata = [("authorization", f"Bearer {tokens[permission]}")]
            return calls.Promote(pb.PromoteRequest(model_version=versions[0]), metadata=metadata)

        assert refused(lambda: promote("read"))[0] == "PERMISSION_DENIED"
        assert promote("write").alias.model_version == versions[0]


@pytest.mark.parametrize("method", ["ImportModel", "ExportModel", "Promote"])
def test_a_request_that_does_not_parse_is_refused_by_name(world: "World", card: ModelCard, method: str) -> None:
    with serving(lambda: evaluator(world.settings(registry_writes=True))) as channel:
        call = channel.stream_stream(f"/signet.v1.Registry/{method}")
        assert refused(lambda: call(iter([b"\xff\xff\xff"]), timeout=20)) == (
            "INVALID_ARGUMENT",
            f"signet.v1.Registry/{method}: the request (3 bytes) does not parse. Send the message that the .proto file "
            "of this method names.",
        )
