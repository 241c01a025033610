"""`signet extract --audit` names what is wrong with which clip, and writes one page that needs nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest

from services.extractor.quality.measurement import add_quality
from signet.landmarks import Landmarks, dump
from signet.store import DirectoryStore, keys
from tests import strict_html
from tests.conftest import RunSignet
from tests.services.extractor.quality.signers import make_sign


class _Page(strict_html.Page):
    void = strict_html.Page.void | {"img"}


def _without_hands(clip: Landmarks) -> Landmarks:
    landmarks, presence = clip.landmarks.copy(), clip.presence.copy()
    landmarks[:, 33:] = np.nan
    presence[:, 1:] = 0
    return Landmarks(landmarks, presence, clip.visibility, clip.timestamps, clip.record)


@pytest.fixture
def corpus(tmp_path: Path) -> DirectoryStore:
    """Seven clips: four good ones, a copy of one under another gloss, one of several people, one without hands."""
    clips = [make_sign(seed, f"good{seed}", gloss="<b>book</b>", signer="1") for seed in range(4)]
    clips.append(make_sign(3, "copy", gloss="read", split="val"))
    clips.append(add_quality(make_sign(5, "crowd", gloss="drink"), several_people=True))
    clips.append(_without_hands(make_sign(6, "handless", gloss="drink")))
    (tmp_path / "store").mkdir()
    store = DirectoryStore(tmp_path / "store")
    for clip in clips:
        store.put(keys.clip("made", clip.record.clip_id), dump(clip))
    return store


def test_an_audit_names_the_bad_clips_and_changes_nothing(
    run_signet: RunSignet, corpus: DirectoryStore, tmp_path: Path
) -> None:
    before = {info.key: info.etag for info in corpus.list("")}
    status, output, errors = run_signet(["extract", "--audit", "--corpus", "made", "--wlasl", str(tmp_path / "none")])
    assert (status, errors) == (0, "")
    assert "4 of 7 clips have a finding" in output
    lines = output.splitlines()
    worst = [line.split()[0] for line in lines[lines.index("The worst clips") + 2 :][:4]]
    assert set(worst[:2]) == {"handless", "crowd"} and set(worst[2:]) == {"copy", "good3"}
    assert "1 have several glosses and 1 are in several splits" in output
    assert "drawn on a plain ground" in output
    assert {info.key: info.etag for info in corpus.list("")} == before
    text = (tmp_path / "audit-made.html").read_text()
    page = _Page(text)
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(pictures) == 7 and all(picture.startswith("data:image/webp;base64,") for picture in pictures)
    assert not {"script", "link", "iframe", "form"} & set(page.tags)
    assert "<b>book</b>" not in text and "&lt;b&gt;book&lt;/b&gt;" in text
    assert page.with_class("k-several_people") == 1 and page.with_class("k-few_hands") == 1
    assert len(text) < 400_000


def test_glosses_and_splits_can_be_chosen(run_signet: RunSignet, corpus: DirectoryStore, tmp_path: Path) -> None:
    arguments = ["extract", "--audit", "--corpus", "made", "--gloss", "drink", "--html", str(tmp_path / "a.html")]
    status, output, _ = run_signet([*arguments, "--pictures", "1", "--wlasl", str(tmp_path)])
    assert status == 0 and "2 of 2 clips have a finding" in output
    assert "2 of the 7 stored clips were audited" in output
    assert (tmp_path / "a.html").read_text().count("data:image/webp") == 1
    status, _, errors = run_signet([*arguments, "--split", "test"])
    assert status == 1 and "none of the 7 clips" in errors


def test_what_cannot_be_audited_is_an_error_that_says_what_to_do(
    run_signet: RunSignet, corpus: DirectoryStore, tmp_path: Path
) -> None:
    status, _, errors = run_signet(["extract", "--audit", "--corpus", "other"])
    assert status == 1 and "has no clips" in errors and "--corpus" in errors
    status, _, errors = run_signet(["extract", "--audit", "--corpus", "made", "--html", str(tmp_path / "no/a.html")])
    assert status == 1 and "does not exist" in errors


def test_a_damaged_clip_does_not_stop_the_audit(run_signet: RunSignet, corpus: DirectoryStore, tmp_path: Path) -> None:
    corpus.put(keys.clip("made", "broken"), json.dumps("no tensor").encode())
    status, output, _ = run_signet(["extract", "--audit", "--corpus", "made", "--wlasl", str(tmp_path)])
    assert status == 0 and "of 7 clips have a finding" in output
