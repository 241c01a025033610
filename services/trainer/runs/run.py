"""One training run: snapshot, members, training, held-out evaluation, published model, result.

The folder runs/<run_id>/ holds config.json from the start, the checkpoints of `services.trainer.runs.checkpoints` while
the run is under way, and curves.svg, heldout.safetensors and result.json at its end. A run without a result was
interrupted or has failed, and can be resumed.
"""

import contextlib
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from statistics import fmean
from typing import Any

import torch

from services.trainer.config.train_config import FIRST_GOAL, TrainConfig
from services.trainer.data.members import Member, MemberKey, plan_members
from services.trainer.data.snapshot import load_or_create_snapshot
from services.trainer.drawing.curves import RunCurves, draw_run_curves
from services.trainer.model.build import WeightInitialiser, new_model, restore_model
from services.trainer.model.sign_model import SignModel
from services.trainer.runs.checkpoints import (
    MIN_STATE_SECONDS,
    Checkpoints,
    TakenOver,
    create_checkpoints,
    take_over_checkpoints,
)
from services.trainer.runs.events import MemberEpoch, RunCallbacks, RunStarted
from services.trainer.runs.heldout_evaluation import (
    HeldOutEvaluation,
    TrainedMember,
    collect_predictions,
    evaluate_members,
    select_published_model,
)
from services.trainer.runs.listing import config_to_resume
from services.trainer.runs.member_training import (
    EpochDone,
    MemberDone,
    MemberEvent,
    RunAborted,
    StateReady,
    train_member,
)
from services.trainer.runs.progress import RunProgress, load_progress
from services.trainer.runs.publish import find_published_model, publish
from services.trainer.runs.result import NO_CLIPS, MemberResult, Result
from services.trainer.runs.warm_start import load_source_weights, resolve_start_from
from services.trainer.runs.worker_pool import train_in_worker_pool
from services.trainer.runtime.devices import resolve_device
from services.trainer.training import distributed
from signet import heldout
from signet.datasets.snapshot import TRAIN, VAL, Dataset, load_snapshot
from signet.errors import InvalidInput, NotReady, SignetError, Unavailable
from signet.registry import ModelCard
from signet.store import ObjectStore, keys


def new_run_id() -> str:
    """A new id. Ids sort by the time at which they were made."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def run(
    store: ObjectStore, config: TrainConfig, run_id: str, callbacks: RunCallbacks, corpus_version: str = ""
) -> Result:
    """Train a model on landmarks in the store, and publish it there.

    Args:
        store: holds the landmarks, and gets the run and the model.
        config: the run's configuration.
        run_id: its name, from `new_run_id`.
        callbacks: see `RunCallbacks`.
        corpus_version: the version of the corpus, recorded in the result; "" if it is not known.

    Raises:
        RunAborted: `should_abort` was True. `resume` continues the run.
        SignetError: the run cannot start or continue. Nothing is published.
    """
    # An invalid name is refused now, before anything is stored.
    keys.check_name("model", config.model_name)
    keys.check_name("corpus", config.corpus)
    config = config.model_copy(update={"start_from": resolve_start_from(store, config.start_from)})
    store.create(keys.run(run_id, "config.json"), config.model_dump_json(indent=1).encode())
    return _Run(store, config, run_id, callbacks, None, corpus_version).execute()


def resume(
    store: ObjectStore,
    run_id: str,
    callbacks: RunCallbacks,
    changes: Mapping[str, Any] | None = None,
    corpus_version: str = "",
) -> Result:
    """Continue an interrupted run from its last saved state. On a CPU the result is that of an uninterrupted run.

    A process that still trains the run stops when it saves its next state.

    Args:
        store: holds the run.
        run_id: its name.
        callbacks: see `RunCallbacks`.
        changes: new values of settings; see `services.trainer.runs.listing.config_to_resume`.
        corpus_version: recorded if the run was interrupted before it recorded one.

    Raises:
        NotFound: there is no such run.
        NotReady: it has ended, or this version cannot train on its snapshot.
        InvalidInput: a change is not valid, or would train something else.
        SignetError: as `run`.
    """
    config = config_to_resume(store, run_id, changes or {})
    return _Run(store, config, run_id, callbacks, load_progress(store, run_id), corpus_version).execute()


class _Run:
    """One run in this process; `progress` is what earlier processes have done, None for a new run."""

    def __init__(
        self,
        store: ObjectStore,
        config: TrainConfig,
        run_id: str,
        callbacks: RunCallbacks,
        progress: RunProgress | None,
        corpus_version: str,
    ) -> None:
        self._store = store
        self._config = config
        self._run_id = run_id
        self._callbacks = callbacks
        self._resumed = progress
        self._corpus_version = progress.corpus_version if progress else corpus_version
        self._goal = config.target_accuracy or FIRST_GOAL
        # The members that were stopped before their end.
        self._stopped: dict[MemberKey, MemberDone] = {}

    def execute(self) -> Result:
        """Train the members that are not trained yet, evaluate all, publish a model, and write the result."""
        self._device = resolve_device(self._config.device)
        self._dataset = self._load_dataset()
        self._members = plan_members(self._dataset.manifest, self._config)
        self._checkpoints = self._open_checkpoints()
        try:
            for member in self._members:
                self._load_trained_model(member)  # damaged weights are found before hours of training
            self._initialise = self._load_initialiser()
            self._callbacks.on_start(self._describe_start())
            self._train_members()
            if self._config.pretrain:
                result = self._summarise_pretraining()
            else:
                trained = self._trained_members()
                evaluation = self._evaluate(trained)
                self._write_curves()
                card = self._publish(trained, evaluation)
                result = self._summarise(evaluation, card)
            self._write_result(result)  # last: until then the run can be resumed
        except TakenOver:
            raise
        except RunAborted:
            self._checkpoints.release()
            raise RunAborted(f"run {self._run_id} was aborted: it is not trained, and publishes nothing.") from None
        except BaseException as error:
            failed = isinstance(error, SignetError) and not isinstance(error, Unavailable)
            self._checkpoints.release(failure=str(error) if failed else "")
            raise
        return result

    def _load_dataset(self) -> Dataset:
        config, resumed = self._config, self._resumed
        if resumed is None:
            return load_or_create_snapshot(self._store, config.corpus, config.max_glosses, config.samples_per_gloss)
        dataset = load_snapshot(self._store, resumed.dataset_name, resumed.dataset_version)
        if fault := dataset.manifest.sampling_difference:
            raise NotReady(
                f"run {self._run_id} cannot be resumed: {fault}. Finish the run with the version of Signet that "
                "started it, or start a new run."
            )
        return dataset

    def _open_checkpoints(self) -> Checkpoints:
        should_abort = self._callbacks.should_abort
        if self._resumed is not None:
            return take_over_checkpoints(self._store, self._run_id, self._members, self._resumed, should_abort)
        return create_checkpoints(
            self._store,
            self._run_id,
            self._members,
            dataset_name=self._dataset.manifest.name,
            dataset_version=self._dataset.manifest.version,
            corpus_version=self._corpus_version,
            should_abort=should_abort,
        )

    def _load_initialiser(self) -> WeightInitialiser | None:
        """What replaces the random weights of a new member; None without --start-from, or if all members have begun."""
        if all(self._checkpoints.member_progress(member.key).file for member in self._members):
            return None
        source = load_source_weights(self._store, self._config.start_from)
        if source is None:
            return None
        source.check(self._config, self._dataset.split(VAL), self._dataset.manifest.audit.all_duplicates)
        return source.initialise

    def _describe_start(self) -> RunStarted:
        gpu = torch.cuda.get_device_properties(self._device) if self._device.type == "cuda" else None
        manifest, progress = self._dataset.manifest, self._checkpoints.progress
        train, val = len(self._dataset.split(TRAIN)), len(self._dataset.split(VAL))
        return RunStarted(
            device=str(self._device),
            gpu_name=gpu.name if gpu else "",
            gpu_memory_bytes=gpu.total_memory if gpu else 0,
            parameters=new_model(self._config, len(manifest.vocabulary)).parameter_count,
            dataset_version=manifest.version,
            glosses=len(manifest.vocabulary),
            train_clips=train + val if self._config.folds else train,
            val_clips=train + val if self._config.folds else val,
            num_epochs=self._config.num_epochs,
            seeds=self._config.seeds,
            folds=self._config.folds,
            epochs_before=progress.epochs,
            members_before=progress.done,
        )

    def _train_members(self) -> None:
        """Train the members that are not done, and save what they yield."""
        checkpoints = self._checkpoints
        left = [member for member in self._members if not self._is_done(member)]
        numbers = {member.key: number for number, member in enumerate(self._members, 1)}
        parallel = min(self._config.jobs, len(left))
        for event in self._train_in_parallel(left, parallel) if parallel > 1 else self._train_one_by_one(left):
            if isinstance(event, EpochDone):
                checkpoints.add_epoch(event.key, event.epoch)
                self._callbacks.on_epoch(MemberEpoch(event.epoch, numbers[event.key], *event.key))
            elif isinstance(event, StateReady):
                if event.last or checkpoints.is_state_due(event.key):
                    checkpoints.save_state(event.key, event.state, event.seconds)
            elif event.complete:
                checkpoints.save_weights(event.key, event.weights, event.selected_on)
            else:
                self._stopped[event.key] = event
                checkpoints.write_with_retry(partial(checkpoints.write_history, event.key))
                if self._config.pretrain:
                    checkpoints.save_partial_weights(event.key, event.weights)

    def _train_in_parallel(self, members: Sequence[Member], parallel: int) -> Iterator[MemberEvent]:
        if distributed.current_ranks().size > 1:
            raise InvalidInput("--jobs does not go with torchrun, whose processes train one member together. Drop one.")
        self._checkpoints.parallel_members = parallel
        return train_in_worker_pool(
            self._dataset,
            self._config,
            members,
            self._device,
            self._checkpoints.load_state,
            self._callbacks,
            state_seconds=MIN_STATE_SECONDS * parallel,
            initialise=self._initialise,
        )

    def _train_one_by_one(self, members: Sequence[Member]) -> Iterator[MemberEvent]:
        for number, member in enumerate(members):
            if number and self._callbacks.should_stop():
                return
            yield from train_member(
                self._dataset,
                self._config,
                member,
                self._device,
                self._checkpoints.load_state(member.key),
                self._callbacks,
                is_state_due=partial(self._checkpoints.is_state_due, member.key),
                initialise=self._initialise,
            )

    def _is_done(self, member: Member) -> bool:
        return self._checkpoints.member_progress(member.key).done

    def _load_trained_model(self, member: Member) -> SignModel | None:
        """The model of a member that is done; None of another."""
        return self._restore(member, self._checkpoints.load_weights(member.key)) if self._is_done(member) else None

    def _restore(self, member: Member, weights: bytes) -> SignModel:
        owner = f"run {self._run_id}: seed {member.seed}"
        return restore_model(self._config, len(self._dataset.manifest.vocabulary), weights, owner)

    def _trained_members(self) -> list[TrainedMember]:
        """The members that are done. Those that were stopped before their end count only if none is done."""
        done, stopped = [], []
        for member in self._members:
            epochs = len(self._checkpoints.histories[member.key])
            if (model := self._load_trained_model(member)) is not None:
                selected_on = self._checkpoints.member_progress(member.key).selected_on
                done.append(TrainedMember(member, model, epochs, complete=True, selected_on=selected_on))
            elif (event := self._stopped.get(member.key)) is not None:
                model = self._restore(member, event.weights)
                stopped.append(TrainedMember(member, model, epochs, complete=False, selected_on=event.selected_on))
        return done or stopped

    def _evaluate(self, trained: Sequence[TrainedMember]) -> HeldOutEvaluation:
        """Evaluate the members, and write their predictions for the report."""
        evaluation = evaluate_members(self._dataset, self._config, trained, self._device)
        if evaluation.evaluated:
            predictions = collect_predictions(self._run_id, self._dataset, self._config, evaluation)
            self._checkpoints.write_with_retry(lambda: heldout.write_predictions(self._store, predictions))
        return evaluation

    def _publish(self, trained: Sequence[TrainedMember], evaluation: HeldOutEvaluation) -> ModelCard | None:
        """The card of the published model; None if the run publishes none."""
        model = select_published_model(self._config, trained)
        if model is None:
            return None
        # An earlier process may have published the model and ended before it wrote the result.
        earlier = find_published_model(self._store, self._run_id, self._config.model_name) if self._resumed else None
        return earlier or publish(
            self._store, self._dataset, self._config, self._run_id, model, evaluation, self._checkpoints
        )

    def _summarise(self, evaluation: HeldOutEvaluation, card: ModelCard | None) -> Result:
        counts = evaluation.counts
        return self._make_result(
            evaluation.members,
            model_name=card.name if card else "",
            model_version=card.version if card else "",
            val_clips=counts.clips,
            val_correct=counts.correct,
            val_top5=counts.top5,
            val_continuous_correct=counts.continuous_correct,
            val_greedy_correct=counts.greedy_correct,
            val_empty=counts.empty,
            blank_ratio=counts.blank_ratio,
            collapsed=counts.collapsed or any(member.collapsed for member in evaluation.members),
            goal=self._goal,
            goal_met=counts.clips > 0 and counts.correct >= self._goal * counts.clips,
            glosses=evaluation.glosses,
            ensemble=evaluation.ensemble,
        )

    def _summarise_pretraining(self) -> Result:
        histories = self._checkpoints.histories
        last_losses = [history[-1].val.loss for history in histories.values() if history]
        losses = [loss for loss in last_losses if math.isfinite(loss)]
        members = [
            MemberResult(
                fold=member.fold,
                seed=member.seed,
                epochs=len(histories[member.key]),
                complete=self._is_done(member),
                **NO_CLIPS.model_dump(),
            )
            for member in self._members
        ]
        return self._make_result(members, pretrained=True, val_loss=fmean(losses) if losses else None)

    def _make_result(self, members: Sequence[MemberResult], **figures: Any) -> Result:
        histories = self._checkpoints.histories.values()
        return Result(
            state="succeeded" if all(map(self._is_done, self._members)) else "stopped",
            epochs=max(member.epochs for member in members),
            seconds=self._checkpoints.seconds,
            corpus_version=self._corpus_version,
            folds=self._config.folds,
            members=tuple(members),
            actions=tuple(action for history in histories for epoch in history for action in epoch.actions),
            **figures,
        )

    def _write_curves(self) -> None:
        histories = [history for history in self._checkpoints.histories.values() if history]
        glosses = len(self._dataset.manifest.vocabulary)
        title = f"{self._config.model_name}, run {self._run_id}: {glosses} glosses"
        curves = RunCurves(histories, self._config.num_epochs, self._config.start, self._goal, chance=1 / glosses)
        svg = draw_run_curves(curves, title)
        self._checkpoints.write_with_retry(lambda: self._store.put(keys.run(self._run_id, "curves.svg"), svg))

    def _write_result(self, result: Result) -> None:
        data = result.model_dump_json(indent=1).encode()
        self._checkpoints.write_with_retry(lambda: self._store.put(keys.run(self._run_id, "result.json"), data))
        # States that stay in the store are harmless.
        with contextlib.suppress(Unavailable):
            self._checkpoints.delete_states()
