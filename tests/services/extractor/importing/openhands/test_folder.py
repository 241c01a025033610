"""Folders of OpenHands' pickles."""

from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.kinds import open_source
from services.extractor.importing.source import ImportOptions
from tests.services.extractor.archives import write_metadata
from tests.services.extractor.foreign_files import openhands_arrays, sign
from tests.services.extractor.importing.openhands.test_clip_file import write_pickle


def test_metadata_of_wlasl_label_the_files_if_they_list_them(tmp_path: Path) -> None:
    metadata = write_metadata(tmp_path / "wlasl", {"00335": "book", "00336": "drink"})
    for clip_id in ("00335", "00336", "99999"):
        write_pickle(tmp_path / "poses" / f"{clip_id}.pkl", openhands_arrays(sign(20, seed=int(clip_id)), 1.8))
    source = open_source(tmp_path / "poses", ImportOptions(wlasl=metadata))
    assert [(clip.clip_id, clip.gloss, clip.signer) for clip in source.clips] == [
        ("00335", "book", source.clips[0].signer),
        ("00336", "drink", source.clips[1].signer),
    ]
    assert [failure.reason for failure in source.failures] == ["unknown"]
    assert all(clip.split in {"train", "val", "test"} for clip in source.clips)
    assert (source.clips[0].width, source.clips[0].height) == (720, 400)


def test_folders_label_the_files_otherwise(tmp_path: Path) -> None:
    for number, gloss in enumerate(("book", "drink")):
        write_pickle(tmp_path / gloss / f"{number}.pkl", openhands_arrays(sign(20, seed=number), 4 / 3))
    source = open_source(tmp_path, ImportOptions(wlasl=tmp_path))
    assert [(clip.clip_id, clip.gloss) for clip in source.clips] == [("book-0", "book"), ("drink-1", "drink")]
    np.testing.assert_allclose(source.clips[1].read().joints, sign(20, seed=1), atol=1e-5)


def test_a_name_that_cannot_be_printed_does_not_stop_the_others(tmp_path: Path) -> None:
    write_pickle(tmp_path / "book" / "1.pkl", openhands_arrays(sign(20), 4 / 3))
    try:
        write_pickle(tmp_path / "book" / "caf\udce9.pkl", openhands_arrays(sign(20, seed=1), 4 / 3))
    except OSError:
        pytest.skip("this file system has no such names")
    source = open_source(tmp_path, ImportOptions(wlasl=tmp_path))
    assert [clip.clip_id for clip in source.clips] == ["book-1"]
    assert [failure.clip_id for failure in source.failures] == ["book/caf\\udce9"]
