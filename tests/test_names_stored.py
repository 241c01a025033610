"""Names that nobody expects are stored, in a directory and in S3, and come back as they were."""

import io
import json
from collections.abc import Callable
from html import escape
from pathlib import Path

import av
import numpy as np
import pytest

from services.evaluator.reports.evaluate import evaluate
from services.local.seaweedfs import LocalStore
from signet.landmarks import load
from signet.store import DirectoryStore, keys
from signet.store.s3 import S3Store
from signet.terminal.characters import escape_control_characters
from tests.conftest import RunSignet
from tests.names import CONTROLS, GLOSSES, REFUSED_GLOSSES, TEXTS
from tests.services.evaluator.conftest import World, everyday_clips
from tests.services.extractor.archives import hands_archive

# Ids that can be parts of keys, though some systems or shells do not like them as names.
IDS = ("CON", "a.b-c_d", "00123", "x" * 128, "latest", "nul.mp4")


def _entry(gloss: str, *ids: str) -> dict[str, object]:
    common = {"split": "train", "signer_id": 7, "frame_start": 1, "frame_end": -1, "fps": 25, "source": "aslsearch"}
    return {"gloss": gloss, "instances": [{"video_id": clip_id, **common} for clip_id in ids]}


def _metadata(folder: Path, entries: list[dict[str, object]]) -> Path:
    folder.mkdir()
    (folder / "WLASL_v0.3.json").write_text(json.dumps(entries))
    return folder


def test_an_import_keeps_every_gloss_and_names_every_id_that_it_cannot_use(
    run_signet: RunSignet, tmp_path: Path
) -> None:
    ids = {gloss: f"c{number:03}" for number, gloss in enumerate(GLOSSES)}
    # A comma or a line break would end the cell of the table.
    bad_ids = [name for name in TEXTS if name.strip() and name not in IDS and not set(name) & set(',;"\r\n\x85\u2028')]
    bad_ids = [name for name in bad_ids if not name[0].isalnum()]
    entries = [_entry(gloss, clip_id) for gloss, clip_id in ids.items()]
    entries += [_entry("ids", *IDS, *bad_ids)]
    entries += [_entry(gloss, f"r{number:03}") for number, gloss in enumerate(REFUSED_GLOSSES)]
    wlasl = _metadata(tmp_path / "wlasl", entries)
    archive = hands_archive(tmp_path / "archive", dict.fromkeys([*ids.values(), *IDS, *bad_ids], 3))
    status, shown, errors = run_signet(["import", str(archive), "--wlasl", str(wlasl)])
    assert (status, errors) == (3, "")
    assert not CONTROLS.search(shown)
    assert f"{len(GLOSSES) + 1} glosses: " in shown
    assert f"{len(REFUSED_GLOSSES)} instances left out, because the gloss cannot be used: entry " in shown
    store = DirectoryStore(tmp_path / "store")
    for gloss, clip_id in ids.items():
        assert escape_control_characters(gloss) in shown
        assert load(store.get(keys.clip("wlasl-hands", clip_id)), clip_id).record.gloss == gloss
    for clip_id in IDS:
        assert load(store.get(keys.clip("wlasl-hands", clip_id)), clip_id).record.clip_id == clip_id
    for clip_id in bad_ids:
        assert f"broken {escape_control_characters(clip_id.strip())}"[:60] in shown, ascii(clip_id)


def _write_video(path: Path, level: int) -> None:
    """A dozen grey pictures."""
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(12):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")))
        file.mux(stream.encode())


def test_an_extraction_keeps_every_gloss_and_id_that_it_can_use(run_signet: RunSignet, tmp_path: Path) -> None:
    named = ("[wh]book", "می\u200cخواهم drink[/]", "كتاب ספר 🤟🏽")
    used = dict(zip(IDS, named, strict=False))
    bad_ids = ("../../etc/passwd", "a\nclip forged", "[red]x[/red]", "\u202egnp", "a\0b", "é")
    folder = _metadata(
        tmp_path / "wl [x]as\u202el",
        [_entry(gloss, clip_id) for clip_id, gloss in used.items()] + [_entry("x", *bad_ids)],
    )
    (folder / "clips").mkdir()
    for number, clip_id in enumerate(used):
        _write_video(folder / f"clips/{clip_id}.mp4", 40 * number)
    (folder / "clips/[b]stray\u202e\n.mp4").write_bytes(b"")
    options = [word for gloss in named for word in ("--gloss", gloss)]
    status, shown, errors = run_signet(
        ["extract", "--wlasl", str(folder), "--corpus", "CON", "--workers", "1", "--stats", *options]
    )
    assert (status, errors) == (0, "")
    assert not CONTROLS.search(shown)
    store = DirectoryStore(tmp_path / "store")
    for clip_id, gloss in used.items():
        assert escape_control_characters(gloss) in shown
        assert load(store.get(keys.clip("CON", clip_id)), clip_id).record.gloss == gloss
        status, where, errors = run_signet(["features", clip_id, "--corpus", "CON"])
        assert (status, errors) == (0, "")
        page = (tmp_path / where.split()[-1]).read_text()
        assert not CONTROLS.search(page)
        assert escape(escape_control_characters(gloss)) in page


def test_an_s3_store_keeps_every_gloss_and_foreign_objects_break_no_listing(
    run_signet: RunSignet,
    new_bucket: Callable[..., S3Store],
    s3_server: LocalStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = new_bucket()
    for variable, value in (s3_server.environment | {"SIGNET_STORE": store.url}).items():
        monkeypatch.setenv(variable, value)
    world = World(tmp_path / "unused")
    world.store = store
    world.publish(world.snapshot(everyday_clips((*GLOSSES, "chair", "go", "who"))), name="CON")
    report, page = evaluate(store, "CON", "latest", "val", commit="", threads=1)
    assert {gloss.gloss for gloss in report.per_gloss} >= set(GLOSSES)
    assert not CONTROLS.search(page)
    # Names that a client of S3 does not send are left out.
    foreign = [name for name in TEXTS if name.strip("/. ") and "\0" not in name and ".." not in name]
    foreign = [name for name in foreign if "/./" not in f"/{name}/" and "//" not in name and len(name.encode()) < 200]
    for folder in ("runs", "reports", "models/CON", "models/CON/aliases", "landmarks/v1/CON", "corpora/CON"):
        for name in foreign:
            for key in (f"{folder}/{name}", f"{folder}/{name}/config.json"):
                store._client.put_object(store._bucket, key, io.BytesIO(b"{}"), 2)  # no key that Signet spells
    for command in (["models", "--model-name", "CON"], ["reports"], ["runs"]):
        status, shown, errors = run_signet(command)
        assert status == 0, errors
        assert not CONTROLS.search(shown + errors)
    assert report.report_id in run_signet(["reports"])[1]
