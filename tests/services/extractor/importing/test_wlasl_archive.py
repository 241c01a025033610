"""Archives with WLASL's metadata are stored byte for byte as by earlier versions."""

import hashlib
from pathlib import Path

import numpy as np

from services.extractor.importing.importer import run_import
from services.extractor.importing.kinds import open_source
from services.extractor.importing.source import ImportOptions
from signet.store import DirectoryStore
from tests.services.extractor.archives import HEADER, left_hand, right_hand, write_metadata

# sha256 of each object, computed with the version before there were other kinds than archives.
STORED = {
    "corpora/others-hands/manifest.json": "b3ad83fb4d871ba623651c795711a1d5059cb1ca949dd81a8e332344b4569f76",
    "corpora/others-holistic/manifest.json": "1a80110436e07817dd9b8a989db697994e8b33deb973fef6af9ac80fef700bf3",
    "landmarks/v1/others-hands/101.safetensors": "9f752a89580a94b9bf8bf9488a104160f8087e7162090b30498ef844dd491b92",
    "landmarks/v1/others-hands/102.safetensors": "07099cfca187ce63f6474acb3c908fd6f2bb32bf8fee89cc67872055752d913f",
    "landmarks/v1/others-hands/103.safetensors": "91e42c14eca30cb7d32b4903dfc1dde4f43c068bd7075fd7a7f0a3b37c8c1215",
    "landmarks/v1/others-holistic/101.safetensors": "54e052c0acf9767d38aa84a4afe9ef412da4be274ad3a02423d35a237b6c6f6f",
    "landmarks/v1/others-holistic/102.safetensors": "c05ecf3b4641bef18139bfa2249d0e3c218afa1a4d1764c4463aeffd0b5f97a2",
    "landmarks/v1/others-holistic/103.safetensors": "952be4baa7718c407799fdbcaade7933fad84978ca65a9a024e24cb8fa42a03b",
}
FINGERPRINTS = {
    "hands": "import/hands/5e0cea10bd81/signet-import-1",
    "holistic": "import/holistic/9279af6db219/signet-import-1",
}


def _write_archives(folder: Path) -> None:
    random = np.random.default_rng(5)
    scale = np.array([1.8, 1, 1.8])
    frames = np.full((24, 2, 21, 3), -1.0, np.float16)
    for index in range(24):
        frames[index, 0] = right_hand(0.6 + 0.01 * index) / scale
        if index % 3:
            frames[index, 1] = left_hand(1.2 - 0.01 * index) / scale
        if index % 5 == 0:
            frames[index] = frames[index, ::-1]
    pose = random.random((24, 33, 4), np.float32)
    pose[3] = np.nan
    left = random.random((24, 21, 3), np.float32)
    left[::4] = np.nan
    right = random.random((24, 21, 3), np.float32)
    right[7:11] = np.nan
    rows = [
        (*HEADER, "fps", "width", "height"),
        ("101", 0, 10, "", "", ""), ("102", 10, 8, "29.97", 640, 360), ("103", 18, 6, 25, "", ""),
    ]  # fmt: skip
    archives = {"hands": {"frames": frames}, "holistic": {"pose": pose, "left_hand": left, "right_hand": right}}
    for name, arrays in archives.items():
        (folder / name).mkdir()
        np.savez(folder / name / "frames.npz", **arrays)  # type: ignore[arg-type]
        (folder / name / "index.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


def test_stored_objects_and_fingerprints_are_those_of_earlier_versions(
    tmp_path: Path, directory_store: DirectoryStore
) -> None:
    _write_archives(tmp_path)
    metadata = write_metadata(tmp_path / "wlasl", {"101": "book", "102": "drink", "103": "book"})
    for kind, fingerprint in FINGERPRINTS.items():
        source = open_source(tmp_path / kind, ImportOptions(wlasl=metadata))
        assert (source.fingerprint, source.corpus) == (fingerprint, f"wlasl-{kind}")
        run_import(source, directory_store, f"others-{kind}")
    stored = {info.key: hashlib.sha256(directory_store.get(info.key)).hexdigest() for info in directory_store.list("")}
    assert stored == STORED
