"""One training run from start to published model: snapshot, training, history in the store, export, alias.

runs/<run_id>/ holds config.json from the first moment, history.jsonl while it goes on, curves.svg and result.json when
it has ended. A run without a result was interrupted; it published nothing, unless it was killed in the instant between
publishing and writing its result.
"""

import hashlib
import json
import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from services.trainer import curves, snapshot, thermal
from services.trainer.config import FIRST_GOAL, TrainConfig
from services.trainer.evaluate import Score
from services.trainer.export import export, weights
from services.trainer.objective import FLAT_START
from services.trainer.training import Epoch, Telemetry, Training, find_device
from signet import layout, registry
from signet.dataset import Dataset
from signet.errors import SignetError, Unavailable
from signet.gpu import Nvml
from signet.registry import Metrics, ModelCard
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# History is one object, written whole; an epoch takes a tenth of a second, and a reader can wait this long.
_HISTORY_SECONDS = 5.0

# How often the training clips are judged too, in epochs. Often enough to see what is learnt by heart and not
# understood; each time costs two fifths of a default run's epoch, so that it is 4 % in all.
_TRAIN_EVERY = 10


class Abandoned(SignetError):
    """The run was given up between two batches: nothing is published."""

    code = "ABORTED"


@dataclass(frozen=True)
class Started:
    """What a run found when it began."""

    device: str
    gpu_name: str
    gpu_memory_bytes: int
    parameters: int
    dataset_version: str
    glosses: int
    train_clips: int
    val_clips: int
    num_epochs: int


class GlossResult(BaseModel):
    """How one gloss fared on val."""

    model_config = ConfigDict(frozen=True)

    gloss: str
    correct: int
    clips: int


class Result(BaseModel):
    """How a run ended: result.json."""

    model_config = ConfigDict(frozen=True)

    state: Literal["succeeded", "stopped"]
    model_name: str
    model_version: str
    epochs: int
    val_clips: int
    val_correct: int
    val_greedy_correct: int
    blank_ratio: float
    collapsed: bool
    goal: float
    goal_met: bool
    seconds: float
    # Which state of the corpus it was trained on, as told by whoever started it; empty if nobody said.
    corpus_version: str = ""
    # Best first.
    glosses: tuple[GlossResult, ...]

    @property
    def val_accuracy(self) -> float:
        """Share of val clips recognised by exact decoding; 0 without val clips."""
        return self.val_correct / self.val_clips if self.val_clips else 0.0

    @property
    def val_greedy_accuracy(self) -> float:
        """Share of val clips whose best path is exactly their sign; 0 without val clips."""
        return self.val_greedy_correct / self.val_clips if self.val_clips else 0.0


COLLAPSE_REMEDY = (
    "BLANK COLLAPSE: every val clip comes out empty under greedy decoding. The exact posterior still ranks the signs, "
    "but continuous signing would give nothing. Raise --blank-penalty (try twice as much), train longer "
    "(--num-epochs), or raise --lr."
)


def new_run_id() -> str:
    """An id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def run(
    store: ObjectStore,
    config: TrainConfig,
    run_id: str,
    *,
    on_start: Callable[[Started], None],
    on_epoch: Callable[[Epoch], None],
    stopped: Callable[[], bool],
    abandoned: Callable[[], bool] = lambda: False,
    telemetry: Telemetry | None = None,
    nvml: Nvml | None = None,
    corpus_version: str = "",
) -> Result:
    """Train and publish.

    Args:
        store: holds the landmarks, and gets the rest.
        config: the run's configuration.
        run_id: its name, from `new_run_id`.
        on_start: told once what the run found.
        on_epoch: told each epoch.
        stopped: asked after each epoch; True publishes what there is.
        abandoned: asked before each batch; True gives the run up. A model that is trained is still published.
        telemetry: told what happens within an epoch.
        nvml: what a run on a GPU asks for its temperature; without it, it makes its own connection.
        corpus_version: what state of the corpus this is, for the result.

    Raises:
        Abandoned: the run was given up.
        SignetError: the run cannot begin or go on; nothing is published then.
    """
    begun = time.perf_counter()
    # Refused now, not when the model is to be published.
    layout.check_name("model", config.model_name)
    store.create(layout.run(run_id, "config.json"), config.model_dump_json(indent=1).encode())
    device = find_device(config.device)
    telemetry = telemetry or Telemetry()
    cool_down = thermal.guard(
        device, config.max_gpu_temperature, nvml, released=lambda: stopped() or abandoned(), telemetry=telemetry
    )

    def between_batches() -> None:
        cool_down()
        if abandoned():
            raise Abandoned(f"run {run_id} was given up before it was trained; nothing is published.")

    dataset = snapshot.take(store, config.corpus, config.max_glosses, config.samples_per_gloss)
    training = Training(dataset, config, device, between_batches=between_batches, telemetry=telemetry)
    on_start(_started(training, dataset, config, device))

    epochs: list[Epoch] = []
    state: Literal["succeeded", "stopped"] = "succeeded"
    written = time.monotonic()
    for trained in training.epochs():
        if stopped():
            state = "stopped"
        last = state == "stopped" or target_met(trained, config) or trained.number == config.num_epochs
        judge_train = last or trained.number % _TRAIN_EVERY == 0
        epoch = replace(trained, train=training.judge_train()) if judge_train else trained
        epochs.append(epoch)
        on_epoch(epoch)
        if last:
            break
        if time.monotonic() - written > _HISTORY_SECONDS:
            try:
                _write_history(store, run_id, epochs)
            except Unavailable as error:
                # It is written again, whole, in a moment; hours of training are not given up for it.
                _log.warning("run %s: its history cannot be written now. %s", run_id, error)
            written = time.monotonic()
    _write_history(store, run_id, epochs)

    goal = config.target_accuracy or FIRST_GOAL
    title = f"{config.model_name}, run {run_id}: {len(dataset.manifest.vocabulary)} glosses"
    store.put(layout.run(run_id, "curves.svg"), curves.draw(epochs, config.num_epochs, goal, title))
    # Should the export fail, the weights are not lost with it.
    store.put(layout.run(run_id, "state-final.safetensors"), weights(training.model))
    card = _publish(store, training, dataset, config, run_id, epochs[-1])
    val = epochs[-1].val
    result = Result(
        state=state,
        model_name=card.name,
        model_version=card.version,
        epochs=len(epochs),
        val_clips=val.clips,
        val_correct=val.correct,
        val_greedy_correct=val.greedy_correct,
        blank_ratio=0.0 if math.isnan(val.blank_ratio) else val.blank_ratio,
        collapsed=val.collapsed,
        goal=goal,
        goal_met=val.clips > 0 and val.correct >= goal * val.clips,
        seconds=time.perf_counter() - begun,
        corpus_version=corpus_version,
        glosses=_by_gloss(val, dataset),
    )
    store.create(layout.run(run_id, "result.json"), result.model_dump_json(indent=1).encode())
    return result


def target_met(epoch: Epoch, config: TrainConfig) -> bool:
    """Whether to stop here. Not during the flat start: until CTC has spoken there is no timing to publish."""
    if config.target_accuracy is None or config.train_past_target or not epoch.val.clips:
        return False
    after_start = epoch.number > FLAT_START * config.num_epochs
    return after_start and epoch.val.correct >= config.target_accuracy * epoch.val.clips


def _started(training: Training, dataset: Dataset, config: TrainConfig, device: torch.device) -> Started:
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return Started(
        device=str(device),
        gpu_name=gpu.name if gpu else "",
        gpu_memory_bytes=gpu.total_memory if gpu else 0,
        parameters=training.model.parameter_count,
        dataset_version=dataset.manifest.version,
        glosses=len(dataset.manifest.vocabulary),
        train_clips=len(dataset.split(snapshot.TRAIN)),
        val_clips=len(dataset.split(snapshot.VAL)),
        num_epochs=config.num_epochs,
    )


def _write_history(store: ObjectStore, run_id: str, epochs: list[Epoch]) -> None:
    lines = (
        json.dumps(
            {
                "epoch": epoch.number,
                "train_loss": epoch.train_loss,
                "val_loss": _number(epoch.val.loss),
                "val_clips": epoch.val.clips,
                "val_correct": epoch.val.correct,
                "val_greedy_correct": epoch.val.greedy_correct,
                "val_empty": epoch.val.empty,
                "blank_ratio": _number(epoch.val.blank_ratio),
                "seconds": round(epoch.seconds, 4),
            }
            | ({"train_correct": epoch.train.correct, "train_clips": epoch.train.clips} if epoch.train else {})
        )
        for epoch in epochs
    )
    store.put(layout.run(run_id, "history.jsonl"), ("\n".join(lines) + "\n").encode())


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _publish(
    store: ObjectStore, training: Training, dataset: Dataset, config: TrainConfig, run_id: str, last: Epoch
) -> ModelCard:
    proof = [dataset.clip_frames(clip) for clip in dataset.split(snapshot.VAL) or dataset.split(snapshot.TRAIN)]
    files, difference = export(training.model, proof)
    stopped_on_val = target_met(last, config)
    card = ModelCard(
        schema=registry.SCHEMA,
        name=config.model_name,
        version=registry.new_version(b"".join(files.values())),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run_id=run_id,
        dataset_name=dataset.manifest.name,
        dataset_version=dataset.manifest.version,
        vocabulary=dataset.manifest.vocabulary,
        frame_rate=dataset.manifest.frame_rate,
        blank_penalty=config.blank_penalty,
        parameters=training.model.parameter_count,
        config=config.model_dump(),
        metrics=Metrics(
            val_clips=last.val.clips,
            val_correct=last.val.correct,
            val_greedy_correct=last.val.greedy_correct,
            blank_ratio=_number(last.val.blank_ratio) or 0.0,
            epoch=last.number,
        ),
        selected_on=snapshot.VAL if stopped_on_val else "",
        onnx_difference=difference,
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )
    registry.publish(store, card, files)
    _log.info(
        "published %s/%s; ONNX differs from torch by %.1e on %d real clips",
        card.name,
        card.version,
        difference,
        len(proof),
    )
    return card


def _by_gloss(val: Score, dataset: Dataset) -> tuple[GlossResult, ...]:
    results = [
        GlossResult(gloss=dataset.manifest.vocabulary[label - 1], correct=correct, clips=clips)
        for label, (correct, clips) in val.correct_by_class.items()
    ]
    return tuple(sorted(results, key=lambda one: (-one.correct / one.clips, -one.clips, one.gloss)))
