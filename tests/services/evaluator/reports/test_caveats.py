"""The caveats of a report: each appears exactly where it applies."""

from pathlib import Path
from typing import Any

import pytest

from services.evaluator.reports.caveats import collect_caveats
from services.evaluator.reports.clips import UNFINISHED, EvaluationClips
from services.evaluator.reports.report import Caveat, LeftOut, Proportion, Report
from signet.datasets.snapshot import DatasetClip, Manifest
from signet.heldout import CROSS_VALIDATION
from signet.registry import Metrics, ModelCard

GOLDEN = Path(__file__).parent / "golden"


def report(name: str = "3-published", /, provenance: dict[str, Any] | None = None, **changes: Any) -> Report:
    stored = Report.model_validate_json((GOLDEN / f"{name}.json").read_bytes())
    about = stored.provenance.model_copy(update={"commit": "3f1c2ab", **(provenance or {})})
    return stored.model_copy(update={"provenance": about, **changes})


def clip(clip_id: str, split: str, signer: str = "", gloss: str = "book") -> DatasetClip:
    return DatasetClip(
        clip_id=clip_id, gloss=gloss, split=split, signer=signer, sha256="", source_sha256="", start=0, frames=10
    )


def evaluated(*clips: DatasetClip, snapshot: tuple[DatasetClip, ...] = (), **changes: Any) -> EvaluationClips:
    known: dict[str, Any] = {"corpus": "wlasl", "clips": snapshot}
    fields: dict[str, Any] = {"duplicates": (), "synonyms": {}, **changes}
    return EvaluationClips(clips=clips, inputs=(), manifest=Manifest.model_construct(**known), **fields)


def caveat(found: tuple[Caveat, ...], title: str) -> Caveat | None:
    return next((note for note in found if note.title.startswith(title)), None)


def titles(report: Report, clips: EvaluationClips | None = None, card: ModelCard | None = None) -> list[str]:
    return [note.title for note in collect_caveats(report, clips or evaluated(clip("a", "val")), card)]


def test_every_report_has_a_note_on_selection_and_one_on_the_interval() -> None:
    assert titles(report(top1=Proportion(correct=20, n=30))) == [
        "Neither trained nor selected on this split",
        "Confidence interval",
    ]


@pytest.mark.parametrize(
    ("selected_on", "title"),
    [
        ("", "Neither trained"),
        ("test", "Neither trained"),
        ("val", "Selected on this"),
        ("test, val", "Selected on this"),
    ],
)
def test_a_selection_is_named_if_it_used_this_split(selected_on: str, title: str) -> None:
    found = collect_caveats(report(provenance={"selected_on": selected_on}), evaluated(clip("a", "val")), None)
    assert found[0].title.startswith(title)
    assert found[0].caution == title.startswith("Selected")


def test_training_clips_are_named_before_any_selection() -> None:
    assert titles(report(provenance={"split": "train", "selected_on": "train"}))[0] == "Trained on this split"
    crossed = {"split": "train+val", "protocol": CROSS_VALIDATION, "folds": 5}
    assert titles(report(provenance=crossed))[0] == "Neither trained nor selected on the held-out clips"
    assert titles(report(provenance={**crossed, "selected_on": "val"}))[0] == "Selected on the held-out clips"


def test_fewer_than_thirty_clips_are_few() -> None:
    assert "Few clips: use the interval, not the share alone" in titles(report(top1=Proportion(correct=20, n=29)))
    assert "Confidence interval" in titles(report(top1=Proportion(correct=20, n=30)))


def test_fewer_than_three_seeds_and_missing_folds_are_a_caution() -> None:
    across = report("3-run").across_seeds
    assert across is not None
    for seeds, title in ((1, "One seed: not"), (2, "2 seeds: not"), (3, None)):
        made = across.model_copy(
            update={"seeds": (across.seeds * 2)[:seeds], "incomplete": (4, 7) if seeds == 3 else ()}
        )
        found = collect_caveats(report("3-run", across_seeds=made), evaluated(clip("a", "val")), None)
        few, incomplete = caveat(found, title or "3 seeds"), caveat(found, "Incomplete seeds")
        assert (few is not None, incomplete is not None) == (title is not None, seeds == 3)
        if incomplete:
            assert "4, 7" in incomplete.text


def test_duplicates_in_another_split_are_counted_and_the_first_five_groups_are_listed() -> None:
    snapshot = (*(clip(f"t{index}", "train") for index in range(8)), clip("v0", "val"), clip("x0", "test"))
    clips = [clip(f"v{index}", "val") for index in range(8)]
    pairs = tuple((f"t{index}", f"v{index}") for index in range(7))
    # Of these groups, the first is within one split, and the second has no clip that is evaluated.
    others = (("v6", "v7"), ("t7", "x0"), ("t7", "gone"))
    found = collect_caveats(report(), evaluated(*clips, snapshot=snapshot, duplicates=(*pairs, *others)), None)
    note = caveat(found, "The same recording in two splits")
    assert note is not None
    assert note.caution
    assert note.text.startswith("7 of the 8 clips show the same recordings as clips of another split: ")
    assert "t4 (book, train) = v4 (book, val); and 2 more groups." in note.text
    assert "t5" not in note.text
    few = evaluated(*clips, snapshot=snapshot, duplicates=(*pairs[:5], *others))
    note = caveat(collect_caveats(report(), few, None), "The same recording in two splits")
    assert note is not None
    assert "v4 (book, val). Under" in note.text
    assert "The same recording in two splits" not in titles(
        report(), evaluated(*clips, snapshot=snapshot, duplicates=others)
    )
    crossed = report(provenance={"split": "train+val", "protocol": CROSS_VALIDATION, "folds": 5})
    assert "The same recording in two splits" not in titles(crossed, few)


def test_only_signers_of_training_clips_are_known() -> None:
    snapshot = (clip("t0", "train", "anna"), clip("v0", "val", "ben"), clip("t1", "train", ""))
    known = evaluated(clip("a", "val", "anna"), clip("b", "val", "ben"), clip("c", "val", ""), snapshot=snapshot)
    note = caveat(collect_caveats(report(), known, None), "Known signers")
    assert note is not None
    assert note.text.startswith("1 of the 8 clips is by signers")
    assert "Known signers" not in titles(report(), evaluated(clip("b", "val", "ben"), snapshot=snapshot))
    assert "Known signers" not in titles(report(provenance={"split": "train"}), known)


def test_clips_of_the_corpus_are_named_with_its_state_and_what_was_left_out() -> None:
    left_out = tuple(LeftOut(clip_id=f"x{index}", gloss="go", training_clips=("t1", "t2")) for index in range(6))
    made = report(provenance={"split": "test", "corpus_version": "v9"}, left_out=left_out, outside_vocabulary=3)
    for version, caution, words in (("v9", False, "version v9"), (UNFINISHED, True, "no extraction of it has ended")):
        found = collect_caveats(made, evaluated(clip("a", "test"), corpus_version=version), None)
        origin, duplicates = caveat(found, "Clips from the corpus"), caveat(found, "Duplicates of training clips")
        assert origin is not None
        assert duplicates is not None
        assert (origin.caution, words in origin.text, "3 clips of other glosses" in origin.text) == (
            caution,
            True,
            True,
        )
        assert duplicates.text.startswith("6 clips of the split")
        assert "x4 (go) = t1, t2; and 1 more clips." in duplicates.text


def test_a_card_with_another_accuracy_is_named_for_the_published_val_split_only() -> None:
    metrics = Metrics(val_clips=8, val_correct=6, val_greedy_correct=6, blank_ratio=0.6, epoch=9)
    known: dict[str, Any] = {"metrics": metrics}
    card = ModelCard.model_construct(**known)
    title = "The model's card has another accuracy"
    right, wrong = report(top1=Proportion(correct=6, n=8)), report(top1=Proportion(correct=5, n=8))
    assert title not in titles(right, card=card)
    assert title in titles(wrong, card=card)
    assert title in titles(report(top1=Proportion(correct=6, n=9)), card=card)
    assert title not in titles(wrong, card=None)
    for about in ({"split": "test"}, {"corpus_version": "v9"}, {"protocol": CROSS_VALIDATION}):
        assert title not in titles(report(provenance=about, top1=wrong.top1), card=card)


def test_an_unknown_commit_is_named() -> None:
    assert "The commit of the code is not known" in titles(report(provenance={"commit": "unknown"}))
