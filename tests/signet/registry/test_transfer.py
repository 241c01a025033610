"""A version is exported into one file, and imported from it only if everything in it is right."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from signet import registry
from signet.errors import AlreadyExists, DataLoss, InvalidInput, NotFound, Unavailable
from signet.store import DirectoryStore, ObjectStore, keys
from tests.signet.registry.models import FILES, make_card


def _export(store: ObjectStore, version: str = "v1") -> bytes:
    _, size, parts = registry.export_archive(store, "signet", version)
    data = b"".join(parts)
    assert len(data) == size
    return data


def _import(store: ObjectStore, data: bytes) -> registry.ImportedModel:
    return registry.import_archive(store, io.BytesIO(data), "model.tar")


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    """The archive of a published version."""
    store = DirectoryStore(tmp_path / "exporting")
    registry.publish(store, make_card(), FILES)
    return _export(store)


@pytest.fixture
def target(tmp_path: Path) -> DirectoryStore:
    """An empty store."""
    return DirectoryStore(tmp_path / "importing")


def test_an_exported_version_is_imported_byte_by_byte(object_store: ObjectStore, archive: bytes) -> None:
    imported = _import(object_store, archive)
    assert imported == registry.ImportedModel(make_card(), is_new=True)
    card = registry.read_card(object_store, "signet", "v1")
    assert {name: registry.read_file(object_store, card, name) for name in card.files} == FILES
    assert registry.aliases(object_store, "signet") == {}
    assert _export(object_store) == archive
    assert _import(object_store, archive) == registry.ImportedModel(make_card(), is_new=False)


def test_an_archive_is_a_tar_file_that_other_programs_read(archive: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {member.name: member for member in tar}
        assert list(members) == [
            "signet-model/manifest.json", "signet-model/model.json", "signet-model/model.onnx",
            "signet-model/model.safetensors",
        ]  # fmt: skip
        assert all(member.isreg() and member.mtime == 0 and member.mode == 0o644 for member in members.values())
        manifest = json.load(tar.extractfile("signet-model/manifest.json"))  # type: ignore[arg-type]
        for name, entry in manifest["files"].items():
            content = tar.extractfile(f"signet-model/{name}").read()  # type: ignore[union-attr]
            assert entry == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_another_content_under_the_same_version_is_refused(archive: bytes, target: DirectoryStore) -> None:
    registry.publish(target, make_card().model_copy(update={"run_id": "r2"}), FILES)
    with pytest.raises(AlreadyExists, match=r"model\.tar: .*another content under version v1 .*Nothing was changed"):
        _import(target, archive)
    assert registry.read_card(target, "signet", "v1").run_id == "r2"


def test_an_import_that_was_cut_off_is_continued(archive: bytes, target: DirectoryStore) -> None:
    target.create(keys.model("signet", "v1", "model.onnx"), FILES["model.onnx"])
    assert registry.versions(target, "signet") == []
    assert _import(target, archive).is_new
    target.delete(keys.model("signet", "v1", "model.onnx"))
    assert _import(target, archive).is_new, "a file that is gone is stored again"
    target.put(keys.model("signet", "v1", "model.onnx"), b"damaged")
    with pytest.raises(AlreadyExists, match="signet models delete v1"):
        _import(target, archive)


class _Lost(DirectoryStore):
    """A store that is lost after some writes, as if the process were killed."""

    writes = 0

    def create(self, key: str, data: bytes) -> str:
        if not self.writes:
            raise Unavailable("the process was killed")
        self.writes -= 1
        return super().create(key, data)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_the_card_is_stored_last(archive: bytes, tmp_path: Path, writes: int) -> None:
    store = _Lost(tmp_path / "importing")
    store.writes = writes
    with pytest.raises(Unavailable):
        _import(store, archive)
    assert registry.versions(store, "signet") == []
    store.writes = 10
    assert _import(store, archive).is_new


def test_a_version_with_the_name_of_an_alias_is_not_imported(archive: bytes, target: DirectoryStore) -> None:
    registry.publish(target, make_card("v2"), FILES, alias="v1")
    with pytest.raises(AlreadyExists, match="has an alias 'v1'"):
        _import(target, archive)


def test_a_damaged_version_is_not_exported(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match="has no version 'v1'"):
        _export(directory_store)
    registry.publish(directory_store, make_card(), FILES)
    directory_store.put(keys.model("signet", "v1", "model.onnx"), b"x" * len(FILES["model.onnx"]))
    with pytest.raises(DataLoss, match="damaged"):
        _export(directory_store)
    directory_store.delete(keys.model("signet", "v1", "model.onnx"))
    with pytest.raises(DataLoss, match="is gone"):
        _export(directory_store)


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "a/b", "model.json", "manifest.json", "x" * 101])
def test_a_card_that_names_impossible_files_is_not_exported(directory_store: DirectoryStore, name: str) -> None:
    card = make_card().model_copy(update={"files": {name: "0" * 64}})
    directory_store.put(keys.model("signet", "v1", "model.json"), card.model_dump_json(by_alias=True).encode())
    directory_store.put(keys.model("signet", "v1", "x" * 101), b"")
    with pytest.raises(DataLoss):
        _export(directory_store)


def _rewritten(archive: bytes, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> bytes:
    """The archive with other members, as the tar library writes them."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    change(members)
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()


def _with_manifest(archive: bytes, change: Callable[[dict[str, object]], object], card: bytes = b"") -> bytes:
    """The archive with a changed manifest, whose hash of the card fits."""

    def rewrite(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        manifest = json.loads(members[0][1])
        if card:
            members[1] = (members[1][0], card)
            manifest["files"]["model.json"] = {"size": len(card), "sha256": hashlib.sha256(card).hexdigest()}
        change(manifest)
        members[0] = (members[0][0], json.dumps(manifest).encode())

    return _rewritten(archive, rewrite)


def _hostile(archive: bytes) -> dict[str, bytes]:
    card = json.loads(make_card().model_dump_json(by_alias=True))
    size_at = 124
    huge = bytearray(archive)
    huge[size_at : size_at + 11] = b"77777777777"
    return {
        "empty": b"",
        "a web page": b"<!DOCTYPE html><title>not found</title>",
        "gzip": b"\x1f\x8b" + bytes(2000),
        "zeros": bytes(20_000),
        "a huge size": bytes(huge),
        "cut off": archive[:-600],
        "cut off in a file": archive[:2600],
        "something after the end": archive + b"x",
        "a file twice": _rewritten(archive, lambda members: members.append(members[-1])),
        "another order": _rewritten(archive, lambda members: members.reverse()),
        "without a file": _rewritten(archive, lambda members: members.__delitem__(-1)),
        "a path": _rewritten(archive, lambda members: setattr(members[2][0], "name", "../../model.onnx")),
        "a link": _rewritten(archive, lambda members: setattr(members[2][0], "type", tarfile.SYMTYPE)),
        "another owner": _rewritten(archive, lambda members: setattr(members[2][0], "uid", 1000)),
        "other bytes": archive.replace(FILES["model.onnx"], b"x" * len(FILES["model.onnx"])),
        "another card": archive.replace(b"2026-01-01", b"2027-01-01"),
        "a manifest that is no JSON": archive.replace(b'"schema"', b"xschema_"),
        "another schema": archive.replace(b"model-archive/1", b"model-archive/9"),
        "a file of a terabyte": _with_manifest(
            archive, lambda it: it["files"]["model.onnx"].update(size=2**40)  # type: ignore[index]
        ),
        "a file with a path": _with_manifest(
            archive, lambda it: it["files"].update({"../../up": {"size": 0, "sha256": "0" * 64}})  # type: ignore[attr-defined]
        ),
        "many files": _with_manifest(
            archive,
            lambda it: it["files"].update(  # type: ignore[attr-defined]
                {f"f{number}": {"size": 0, "sha256": "0" * 64} for number in range(100)}
            ),
        ),
        "another name in the manifest": _with_manifest(archive, lambda it: it.update(name="other")),
        "a name that is a path": _with_manifest(
            archive, lambda it: it.update(name="../x"), json.dumps(card | {"name": "../x"}).encode()
        ),
        "the folder of the aliases": _with_manifest(
            archive, lambda it: it.update(version="aliases"), json.dumps(card | {"version": "aliases"}).encode()
        ),
        "no card": _with_manifest(archive, lambda it: it["files"].pop("model.json")),  # type: ignore[attr-defined]
        "a card that is none": _with_manifest(archive, lambda it: None, b"[]"),
        "a card with an impossible number": _with_manifest(
            archive, lambda it: None, json.dumps(card | {"beam_width": 10**9}).encode()
        ),
        "a card of other files": _with_manifest(archive, lambda it: None, json.dumps(card | {"files": {}}).encode()),
    }  # fmt: skip


def test_an_archive_with_any_fault_is_refused_and_nothing_is_stored(archive: bytes, target: DirectoryStore) -> None:
    hostile = _hostile(archive)
    assert archive not in hostile.values()
    for fault, data in hostile.items():
        with pytest.raises(InvalidInput, match=r"^model\.tar: ") as refused:
            _import(target, data)
            pytest.fail(f"{fault}: was imported")
        assert str(refused.value).isprintable(), fault
        assert list(target.list("")) == [], fault


def test_every_changed_byte_of_an_archive_is_noticed(archive: bytes, target: DirectoryStore) -> None:
    for position in range(0, len(archive), 7):
        changed = bytearray(archive)
        changed[position] ^= 0x20
        with pytest.raises(InvalidInput):
            _import(target, bytes(changed))
    assert list(target.list("")) == []


def test_a_compressed_archive_is_named_as_such(target: DirectoryStore) -> None:
    with pytest.raises(InvalidInput, match=r"is not an archive of a model\. It is compressed \(gzip\)"):
        _import(target, b"\x1f\x8b" + bytes(2000))
