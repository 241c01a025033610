"""Clips without splits are assigned to train and val."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import Instance
from services.extractor.sources.own.splits import assign_splits
from services.extractor.sources.own.videos import read_own_videos
from tests.services.extractor.sources.own.conftest import MakeFiles


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assign(corpus: VideoCorpus, stored: dict[str, str] | None = None) -> VideoCorpus:
    assert not corpus.has_splits
    return assign_splits(corpus, stored or {}, sha256)


def held_out(corpus: VideoCorpus) -> Counter[str]:
    return Counter(found.gloss for found in corpus.instances if found.split == "val")


def names(count: int, *glosses: str) -> list[str]:
    return [f"{gloss}/{number}.mp4" for gloss in glosses for number in range(count)]


def test_a_fifth_of_each_gloss_with_enough_clips_is_held_out(make_files: MakeFiles) -> None:
    corpus = assign(read_own_videos(make_files(*names(4, "a"), *names(6, "b"), *names(20, "c"), *names(3, "d"))))
    assert held_out(corpus) == {"a": 1, "b": 1, "c": 4}
    assert {found.split for found in corpus.instances} == {"train", "val"}
    said = "\n".join(corpus.notes)
    assert "27 clips train, 6 val" in said
    assert "--table" in said
    assert "glosses with fewer than 4 clips have none in val, so they are not measured: d" in said


def test_the_assignment_does_not_depend_on_where_the_folder_is(make_files: MakeFiles, tmp_path: Path) -> None:
    root = make_files(*names(9, "a", "b"))
    before = {found.clip_id: found.split for found in assign(read_own_videos(root)).instances}
    root.rename(tmp_path / "renamed")
    assert {found.clip_id: found.split for found in assign(read_own_videos(tmp_path / "renamed")).instances} == before


def test_equal_files_and_copies_stay_on_one_side(make_files: MakeFiles) -> None:
    make_files("a/1.mp4", "a/2.mp4", "b/7.mp4", content=b"the same")
    root = make_files("a/3.mp4", "a/3_flip.mp4", "a/3_aug2.mp4", "a/4.mp4", *names(4, "b")[:3], "b/8.mp4")
    splits = {found.clip_id.rpartition("-")[0]: found.split for found in assign(read_own_videos(root)).instances}
    assert splits["a-1"] == splits["a-2"] == splits["b-7"]
    assert splits["a-3"] == splits["a-3_flip"] == splits["a-3_aug2"]
    assert "val" in splits.values()


def test_signers_stay_on_one_side(make_files: MakeFiles) -> None:
    root = make_files(*names(9, "a", "b"))
    rows = [f"{gloss}/{number}.mp4,{'xyz'[number % 3]}" for gloss in "ab" for number in range(9)]
    (root / "videos.csv").write_text("\n".join(["file,signer", *rows]))
    corpus = assign(read_own_videos(root))
    sides = {(found.signer, found.split) for found in corpus.instances}
    assert len(sides) == 3
    assert held_out(corpus) == {"a": 3, "b": 3}
    assert not any("signer" in note for note in corpus.notes)


@pytest.mark.parametrize("signers", [["x"], ["x", "y"]])
def test_signers_are_divided_only_where_nothing_else_is_possible(make_files: MakeFiles, signers: list[str]) -> None:
    root = make_files(*names(5, "a", "b"))
    rows = [f"{gloss}/{n}.mp4,{signers[index % len(signers)]}" for index, gloss in enumerate("ab") for n in range(5)]
    (root / "videos.csv").write_text("\n".join(["file,signer", *rows]))
    corpus = assign(read_own_videos(root))
    assert held_out(corpus) == {"a": 1, "b": 1}
    assert any(f"{len(signers)} signer" in note and "in train and in val" in note for note in corpus.notes)


def test_clips_in_the_store_keep_their_split(make_files: MakeFiles) -> None:
    corpus = read_own_videos(make_files(*names(5, "a")))
    first = assign(corpus)
    (chosen,) = (found.clip_id for found in first.instances if found.split == "val")
    other = next(found.clip_id for found in first.instances if found.split == "train")
    changed = assign(corpus, {chosen: "train", other: "val"})
    assert {found.clip_id for found in changed.instances if found.split == "val"} == {other}

    stored = {found.clip_id: found.split for found in first.instances}
    more = assign(read_own_videos(make_files(*names(30, "a", "b"))), stored)
    assert stored.items() <= {found.clip_id: found.split for found in more.instances}.items()
    assert held_out(more) == {"a": 6, "b": 6}


def test_clips_that_are_added_to_a_small_gloss_are_held_out(make_files: MakeFiles) -> None:
    first = assign(read_own_videos(make_files(*names(3, "a"))))
    assert not held_out(first)
    stored = {found.clip_id: found.split for found in first.instances}
    assert held_out(assign(read_own_videos(make_files(*names(6, "a"))), stored)) == {"a": 1}


def test_an_interrupted_extraction_continues_with_the_same_assignment(make_files: MakeFiles) -> None:
    corpus = read_own_videos(make_files(*names(7, "a", "b", "c")))
    whole = {found.clip_id: found.split for found in assign(corpus).instances}
    part = dict(sorted(whole.items())[::3])
    assert {found.clip_id: found.split for found in assign(corpus, part).instances} == whole


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "x", "y", "z"])), min_size=1, max_size=40),
    st.dictionaries(st.integers(0, 39), st.sampled_from(["train", "val"]), max_size=10),
)
def test_each_gloss_is_trained_on_and_measured_whatever_the_signers_are(
    clips: list[tuple[str, str]], stored: dict[int, str]
) -> None:
    instances = tuple(Instance(f"c{number}", gloss, "", signer) for number, (gloss, signer) in enumerate(clips))
    files = {found.clip_id: Path(f"/r/{found.gloss}/{number}.mp4") for number, found in enumerate(instances)}
    corpus = VideoCorpus(instances, Path("/r"), files, has_splits=False)
    kept = {f"c{number}": split for number, split in stored.items() if number < len(clips)}
    splits = {found.clip_id: found.split for found in assign_splits(corpus, kept, sha256).instances}
    assert kept.items() <= splits.items()
    if kept:
        return
    for gloss, number in Counter(found.gloss for found in instances).items():
        sides = {splits[found.clip_id] for found in instances if found.gloss == gloss}
        assert "train" in sides
        assert ("val" in sides) == (number >= 4) or "val" in sides
