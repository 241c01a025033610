"""The selection chooses glosses and clips."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.extractor.jobs import worker
from services.extractor.jobs.workers import WorkerPool
from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import Instance
from services.extractor.sources.selection import Selection, SelectionCriteria, Usable, Verdicts, select
from services.extractor.sources.wlasl import read_wlasl
from services.extractor.video.decode import Segment
from signet.errors import ClipError, InvalidInput, NotFound

BEST_20 = (
    "go computer thin thanksgiving who cool change bowling before yes tall short shirt many hot family drink cousin "
    "bed accident"
)


class Judge:
    """Says of clips what their names say, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, instances: Sequence[Instance]) -> Verdicts:
        self.asked += [found.clip_id for found in instances]
        return {
            found: ClipError("html", "x") if "bad" in found.clip_id else Usable("0" * 64, Segment(1, 30))
            for found in instances
        }


def corpus(**glosses: str) -> VideoCorpus:
    """Clips by gloss, as words: `g` good, `b` broken, `m` missing, `v` good and in val."""
    instances, files = [], {}
    for gloss, kinds in glosses.items():
        for index, kind in enumerate(kinds):
            clip_id = f"{gloss}{index}{'bad' if kind == 'b' else ''}"
            instances.append(Instance(clip_id, gloss, "val" if kind == "v" else "train", "1", 1, -1))
            if kind != "m":
                files[clip_id] = Path(f"clips/{clip_id}.mp4")
    return VideoCorpus(tuple(instances), Path("clips"), files)


def chosen(selection: Selection) -> dict[str, int]:
    return {gloss: sum(clip.gloss == gloss for clip, _ in selection.clips) for gloss in selection.glosses}


@pytest.mark.clips
def test_the_selection_of_the_real_clips_is_as_recorded(wlasl: Path, workers: WorkerPool) -> None:
    source = read_wlasl(wlasl)
    verified = 0

    def verify(instances: Sequence[Instance]) -> Verdicts:
        nonlocal verified
        verified += len(instances)
        return dict(workers.each(worker.verify, ((clip, (source.path(clip), clip)) for clip in instances)))

    selection = select(source, SelectionCriteria(max_glosses=20), verify)
    assert set(selection.glosses) == set(BEST_20.split())
    assert len(selection.clips) == 195
    assert not selection.broken
    assert verified < 707 / 2  # it stops as soon as the rest cannot win


def test_glosses_are_ranked_by_clips_that_decode() -> None:
    judge = Judge()
    selection = select(corpus(many="bbbbg", some="gggb", few="ggg", least="g"), SelectionCriteria(max_glosses=2), judge)
    assert selection.glosses == ("few", "some")
    assert chosen(selection) == {"few": 3, "some": 3}
    assert [clip.clip_id for clip, _ in selection.broken] == ["some3bad"]
    assert not any(clip_id.startswith("least") for clip_id in judge.asked)


def test_ties_are_ordered_by_name_also_against_unverified_glosses() -> None:
    assert select(corpus(b="ggg", a="ggg", c="ggg"), SelectionCriteria(max_glosses=2), Judge()).glosses == ("a", "b")
    assert select(corpus(z="gggb", a="ggg"), SelectionCriteria(max_glosses=1), Judge()).glosses == ("a",)


def test_only_clips_of_the_requested_splits_count() -> None:
    selection = select(corpus(a="gggv", b="gvvv"), SelectionCriteria(max_glosses=1, splits=("val",)), Judge())
    assert chosen(selection) == {"b": 3}


def test_glosses_can_be_named_and_missing_clips_are_counted() -> None:
    selection = select(corpus(a="gm", b="ggg", c="mm"), SelectionCriteria(max_glosses=1, glosses=("a", "c")), Judge())
    assert chosen(selection) == {"a": 1}
    assert [clip.clip_id for clip in selection.missing] == ["a1", "c0", "c1"]


def test_all_named_glosses_are_taken_whatever_the_limit() -> None:
    selection = select(corpus(a="g", b="ggg", c="gg"), SelectionCriteria(max_glosses=1, glosses=("a", "c")), Judge())
    assert chosen(selection) == {"a": 1, "c": 2}


def test_only_clips_of_the_chosen_glosses_are_missing() -> None:
    selection = select(corpus(a="ggm", b="gm", c="m"), SelectionCriteria(max_glosses=1), Judge())
    assert [clip.clip_id for clip in selection.missing] == ["a2"]
    selection = select(corpus(a="ggm", b="gm", c="m"), SelectionCriteria(), Judge())
    assert [clip.clip_id for clip in selection.missing] == ["a2", "b1", "c0"]


def test_samples_are_chosen_by_the_hash_of_their_ids_and_listed_by_id() -> None:
    selection = select(corpus(a="gggggggg"), SelectionCriteria(samples_per_gloss=3), Judge())
    by_hash = sorted((f"a{index}" for index in range(8)), key=lambda name: hashlib.sha256(name.encode()).digest())
    assert [clip.clip_id for clip, _ in selection.clips] == sorted(by_hash[:3]) != ["a0", "a1", "a2"]


def test_samples_are_reproducible_and_usable() -> None:
    source = corpus(a="gbgvggbvgg")
    first = select(source, SelectionCriteria(samples_per_gloss=3), Judge())
    again = select(source, SelectionCriteria(samples_per_gloss=3), Judge())
    assert [clip.clip_id for clip, _ in first.clips] == [clip.clip_id for clip, _ in again.clips]
    assert chosen(first) == {"a": 3}
    assert len(first.broken) == 2
    larger = select(source, SelectionCriteria(samples_per_gloss=5), Judge())
    assert set(first.clips) < set(larger.clips)


def test_unknown_glosses_and_splits_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="no gloss 'bok'"):
        select(corpus(book="g"), SelectionCriteria(glosses=("bok",)), Judge())
    with pytest.raises(InvalidInput, match=r"no split 'dev'\. It has test, train, val"):
        select(corpus(book="g"), SelectionCriteria(splits=("dev",)), Judge())
    with pytest.raises(NotFound, match="none of the 2 requested clips"):
        select(corpus(book="mm"), SelectionCriteria(), Judge())


def test_each_piece_of_a_long_video_is_a_clip() -> None:
    pieces = tuple(Usable("0" * 64, Segment(10 * number + 1, 10 * number + 10)) for number in range(3))
    source = corpus(a="gg", b="g")

    def verify(instances: Sequence[Instance]) -> Verdicts:
        long = Usable("0" * 64, Segment(1, 30), pieces=pieces)
        return {found: long if found.clip_id == "a0" else Usable("0" * 64, Segment(1, 30)) for found in instances}

    ids = [f"a0-part-{number}-of-3" for number in (1, 2, 3)]
    selection = select(source, SelectionCriteria(), verify)
    assert [clip.clip_id for clip, _ in selection.clips] == [*ids, "a1", "b0"]
    assert [usable for clip, usable in selection.clips if clip.part_of == "a0"] == list(pieces)
    for clip, _ in selection.clips[:3]:
        assert (clip.gloss, clip.split, source.path(clip)) == ("a", "train", Path("clips/a0.mp4"))
    sampled = select(source, SelectionCriteria(samples_per_gloss=2), verify)
    assert len(sampled.clips) == 3
    assert set(sampled.clips) < set(selection.clips)
