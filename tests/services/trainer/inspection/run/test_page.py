"""The page about runs: it is complete, loads nothing, is the same each time, and says what is missing."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from services.trainer.inspection.run.page import RunAnalysis, analyze_run, render_analysis
from services.trainer.inspection.run.record import MemberRecord
from signet.store import keys
from tests.services.trainer.inspection.conftest import FOLDS, INTERRUPTED, LINEAR, SEEDS, TRAIN_ONLY, Runs
from tests.strict_html import Page


def test_the_page_of_a_run_is_complete_and_loads_nothing(runs: Runs) -> None:
    one = analyze_run(runs.store, SEEDS, clips_per_kind=2)
    page = Page(render_analysis([one]).html)
    page.assert_alone()
    assert page.tags.count("h1") == 1
    assert page.tags.count("table") == page.tags.count("caption")
    for said in (
        SEEDS, "2 members", "over 2 seeds", "Findings", "Member by member", "Epoch by epoch", "Gloss by gloss",
        "Frame by frame", "The run", "--num-epochs", one.record.held_out.dataset_version if one.record.held_out else "",
    ):  # fmt: skip
        assert said in page.words, said
    for gloss in ("book", "drink", "who"):
        assert re.search(rf"{gloss}: \d+\u202f% of 2 clips, 95 % interval", page.text)
    assert page.tags.count("figure") == len(one.choice.clips) > 0


def test_equal_runs_give_equal_drawings_and_each_drawing_is_a_complete_file(runs: Runs) -> None:
    first, second = (
        render_analysis([analyze_run(runs.store, SEEDS, clips_per_kind=2)]),
        render_analysis([analyze_run(runs.store, SEEDS, clips_per_kind=2)]),
    )
    assert first.files == second.files
    assert {"curves.svg", "glosses.svg"} <= set(first.files)
    assert any(name.startswith("strip-") for name in first.files)
    for name, data in first.files.items():
        assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg", name  # noqa: S314  (ours)
        assert b"<script" not in data


@pytest.mark.parametrize(
    ("run_id", "said"),
    [
        (INTERRUPTED, f"signet train --resume {INTERRUPTED}"),
        (TRAIN_ONLY, "signet extract --split val"),
    ],
)
def test_a_run_without_figures_shows_its_curves_and_says_why(runs: Runs, run_id: str, said: str) -> None:
    page = Page(render_analysis([analyze_run(runs.store, run_id, clips_per_kind=2)]).html)
    page.assert_alone()
    assert "What is missing" in page.words
    assert said in page.words
    assert page.with_class("curves") == 1
    assert "Gloss by gloss" not in page.words


def test_a_run_without_epochs_has_a_page(copied: Runs) -> None:
    for info in list(copied.store.list(f"runs/{INTERRUPTED}/members/")):
        copied.store.delete(info.key)
    page = Page(render_analysis([analyze_run(copied.store, INTERRUPTED, clips_per_kind=2)]).html)
    assert "The run has no epochs yet" in page.words


def test_the_page_of_a_cross_validation_names_its_folds(runs: Runs) -> None:
    page = Page(render_analysis([analyze_run(runs.store, FOLDS, clips_per_kind=2)]).html)
    page.assert_alone()
    assert "1/2" in page.words
    assert "2 folds of signers" in page.words


def test_what_the_trainer_did_by_itself_is_marked_and_listed(runs: Runs) -> None:
    one = analyze_run(runs.store, LINEAR, clips_per_kind=0)
    (member,) = one.record.members
    acted = [
        replace(epoch, actions=("went back & halved <it>",) if epoch.number == 5 else ()) for epoch in member.epochs
    ]
    analysis = RunAnalysis(
        replace(one.record, members=(MemberRecord(member.key, tuple(acted)),)), one.predictions, one.choice
    )
    plain, marked = render_analysis([one]), render_analysis([analysis])
    assert "epoch 5: went back & halved <it>" in Page(marked.html).words
    assert marked.files["curves.svg"] != plain.files["curves.svg"]


def test_several_runs_are_compared_on_one_page(runs: Runs) -> None:
    analyses = [analyze_run(runs.store, run_id, clips_per_kind=0) for run_id in (SEEDS, LINEAR, FOLDS, INTERRUPTED)]
    drawn = render_analysis(analyses)
    page = Page(drawn.html)
    page.assert_alone()
    for said in (
        "4 runs side by side", "Settings that differ", "Paired comparison", "A → B", "A → C", "B → C",
        "no held-out figures; the reason is below", "exact McNemar test", "Of 3 comparisons", "--head", "--flat-start",
    ):  # fmt: skip
        assert said in page.words, said
    assert "A → D" not in page.words
    assert "18 clips were held out by one run only" in page.words
    assert {"curves.svg", "glosses.svg", "A-curves.svg", "D-curves.svg"} <= set(drawn.files)
    assert page.tags.count("details") >= 4


def test_a_run_and_its_copy_do_not_differ(copied: Runs) -> None:
    for info in list(copied.store.list(f"runs/{LINEAR}/")):
        copied.store.put(info.key.replace(LINEAR, "again"), copied.store.get(info.key))
    page = Page(
        render_analysis([analyze_run(copied.store, run_id, clips_per_kind=0) for run_id in (LINEAR, "again")]).html
    )
    assert "None: all runs have the same configuration." in page.words
    assert "Both runs get the same clips right." in page.words


def test_hostile_names_are_only_text(copied: Runs) -> None:
    key = keys.run(LINEAR, "config.json")
    hostile = '<img src=x onerror="alert(1)"></title></svg><script>'
    copied.store.put(key, json.dumps(json.loads(copied.store.get(key)) | {"model_name": hostile}).encode())
    page = Page(
        render_analysis(
            [analyze_run(copied.store, LINEAR, clips_per_kind=2), analyze_run(copied.store, SEEDS, clips_per_kind=2)]
        ).html
    )
    page.assert_alone()
    assert hostile in page.text
