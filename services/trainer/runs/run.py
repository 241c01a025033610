"""One training run from start to published model: snapshot, members, history in the store, export, alias.

runs/<run_id>/ holds config.json from the first moment, what the run can be continued from while it goes on
(`services.trainer.runs.checkpoints`), and curves.svg, heldout.safetensors and result.json when it has ended. A run
without a result was interrupted, or has failed; it published nothing.
"""

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch

from services.trainer.config.train_config import FIRST_GOAL, TrainConfig
from services.trainer.data import snapshot
from services.trainer.drawing.curves import RunCurves, draw_run_curves
from services.trainer.model.build import WeightInitialiser, new_model, restore_model
from services.trainer.model.recogniser import Recogniser
from services.trainer.runs import checkpoints as checkpoint
from services.trainer.runs.checkpoints import Checkpoints, TakenOver
from services.trainer.runs.events import MemberEpoch, RunCallbacks, RunStarted
from services.trainer.runs.heldout_evaluation import HeldoutEvaluation, TrainedMember, pretrained
from services.trainer.runs.listing import config_to_resume
from services.trainer.runs.members import (
    Abandoned,
    EpochDone,
    LoopControl,
    Member,
    MemberDone,
    MemberEvent,
    MemberKey,
    StateReady,
    plan_members,
    train_member,
)
from services.trainer.runs.progress import RunProgress, load_progress
from services.trainer.runs.publish import find_published_model, publish
from services.trainer.runs.result import Result
from services.trainer.runs.warm_start import load_warm_start, resolve_start_from
from services.trainer.runs.worker_pool import train_in_worker_pool
from services.trainer.runtime import gpu_throttle as thermal
from services.trainer.runtime.devices import resolve_device
from services.trainer.training import distributed
from signet import heldout
from signet.datasets.snapshot import TRAIN, VAL, load_snapshot
from signet.errors import InvalidInput, NotReady, SignetError, Unavailable
from signet.registry import ModelCard
from signet.store import ObjectStore, keys


def new_run_id() -> str:
    """An id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def run(
    store: ObjectStore, config: TrainConfig, run_id: str, callbacks: RunCallbacks, corpus_version: str = ""
) -> Result:
    """Train and publish.

    Args:
        store: holds the landmarks, and gets the rest.
        config: the run's configuration.
        run_id: its name, from `new_run_id`.
        callbacks: who looks on.
        corpus_version: what state of the corpus this is, for the result.

    Raises:
        Abandoned: the run was given up. `resume` goes on.
        SignetError: the run cannot begin or go on; nothing is published then.
    """
    # Refused now, not when the model is to be published.
    keys.check_name("model", config.model_name)
    config = config.model_copy(update={"start_from": resolve_start_from(store, config.start_from)})
    store.create(keys.run(run_id, "config.json"), config.model_dump_json(indent=1).encode())
    return _Run(store, config, run_id, callbacks, None, corpus_version).to_its_end()


def resume(
    store: ObjectStore,
    run_id: str,
    callbacks: RunCallbacks,
    changes: Mapping[str, Any] | None = None,
    corpus_version: str = "",
) -> Result:
    """Go on with a run that was interrupted, from the last epoch that is kept; on a CPU as if nothing had happened.

    Members that are trained are not trained again. A process that still trains the run stops at its next state.

    Args:
        store: holds the run.
        run_id: its name.
        callbacks: who looks on. `on_epoch` is told the epochs from there on.
        changes: of its configuration; see `services.trainer.runs.listing.config_to_resume`.
        corpus_version: for a run that was interrupted before it noted its own.

    Raises:
        NotFound: there is no such run.
        NotReady: it has ended.
        InvalidInput: what it is told cannot be, or would train something else.
        SignetError: as `run`.
    """
    config = config_to_resume(store, run_id, changes or {})
    return _Run(store, config, run_id, callbacks, load_progress(store, run_id), corpus_version).to_its_end()


class _Run:
    """One run in this process."""

    def __init__(
        self,
        store: ObjectStore,
        config: TrainConfig,
        run_id: str,
        callbacks: RunCallbacks,
        before: RunProgress | None,
        corpus_version: str,
    ) -> None:
        self._store = store
        self._config = config
        self._run_id = run_id
        self._callbacks = callbacks
        self._before = before
        self._corpus_version = before.corpus_version if before else corpus_version
        # Of the members that were stopped on their way: what they had learnt.
        self._unfinished: dict[MemberKey, MemberDone] = {}

    def to_its_end(self) -> Result:
        """Train what is not trained yet, and publish."""
        self._device = resolve_device(self._config.device)
        if self._before is None:
            told = self._config
            self._dataset = snapshot.take(self._store, told.corpus, told.max_glosses, told.samples_per_gloss)
        else:
            self._dataset = load_snapshot(self._store, self._before.dataset_name, self._before.dataset_version)
            if self._dataset.manifest.sampling_difference:
                raise NotReady(
                    f"run {self._run_id} cannot go on: {self._dataset.manifest.sampling_difference}. "
                    f"Nobody could serve its model. "
                    "Finish it with the version of Signet that began it, or train anew."
                )
            removed = sorted({clip.split for clip in self._dataset.manifest.training_clips} - {TRAIN})
            if removed:
                raise NotReady(
                    f"run {self._run_id} cannot be resumed: its snapshot has {' and '.join(removed)} clips, and this "
                    "version does not train on them. Finish the run with the version of Signet that began it, or start "
                    "a new run."
                )
        self._members = plan_members(self._dataset.manifest, self._config)
        self._checkpoints = self._record()
        try:
            for member in self._members:
                self._trained_before(member)
            self._initialise = self._load_initialiser()
            self._callbacks.on_start(self._started())
            stopped = self._train()
            return self._conclude(stopped)
        except TakenOver:
            raise
        except (Abandoned, Unavailable):
            self._checkpoints.release()
            raise
        except SignetError as error:
            self._checkpoints.release(failure=str(error))
            raise
        except BaseException:
            self._checkpoints.release()
            raise

    def _load_initialiser(self) -> WeightInitialiser | None:
        """What replaces the random weights of a new member; None without --start-from, or if all members have begun."""
        if all(self._checkpoints.member_progress(member.key).file for member in self._members):
            return None
        source = load_warm_start(self._store, self._config.start_from)
        if source is None:
            return None
        held_out = [clip for clip in self._dataset.manifest.clips if clip.split == VAL]
        source.check(self._config, held_out, self._dataset.manifest.audit.all_duplicates)
        return source.weights.initialise

    def _record(self) -> Checkpoints:
        if self._before is not None:
            return checkpoint.take_over_checkpoints(
                self._store, self._run_id, self._members, self._before, self._callbacks.should_abandon
            )
        manifest = self._dataset.manifest
        return checkpoint.create_checkpoints(
            self._store,
            self._run_id,
            self._members,
            dataset_name=manifest.name,
            dataset_version=manifest.version,
            corpus_version=self._corpus_version,
            should_abandon=self._callbacks.should_abandon,
        )

    def _started(self) -> RunStarted:
        gpu = torch.cuda.get_device_properties(self._device) if self._device.type == "cuda" else None
        manifest = self._dataset.manifest
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
            epochs_before=self._checkpoints.progress.epochs,
            members_before=self._checkpoints.progress.done,
        )

    def _train(self) -> bool:
        """Train the members that are not trained; whether they were stopped on their way."""
        left = [member for member in self._members if not self._checkpoints.member_progress(member.key).done]
        numbers = {member.key: number for number, member in enumerate(self._members, 1)}
        for step in self._steps(left):
            if isinstance(step, EpochDone):
                self._checkpoints.add_epoch(step.key, step.epoch)
                self._callbacks.on_epoch(MemberEpoch(step.epoch, numbers[step.key], *step.key))
            elif isinstance(step, StateReady):
                if step.last or self._checkpoints.is_state_due(step.key):
                    self._checkpoints.save_state(step.key, step.state, step.seconds)
            elif step.complete:
                self._checkpoints.save_weights(step.key, step.weights, step.selected_on)
            else:
                self._checkpoints.write_with_retry(partial(self._checkpoints.write_history, step.key))
                self._unfinished[step.key] = step
                if self._config.pretrain:
                    self._checkpoints.save_partial_weights(step.key, step.weights)
        return not all(self._checkpoints.member_progress(member.key).done for member in self._members)

    def _steps(self, members: Sequence[Member]) -> Iterator[MemberEvent]:
        at_a_time = min(self._config.jobs, len(members))
        if at_a_time > 1:
            if distributed.current_ranks().size > 1:
                raise InvalidInput("--jobs with torchrun: its processes train one member together. Leave one of them.")
            self._checkpoints.parallel_members = at_a_time
            return train_in_worker_pool(
                self._dataset,
                self._config,
                members,
                self._device,
                self._checkpoints.load_state,
                self._callbacks,
                state_seconds=checkpoint.MIN_STATE_SECONDS * at_a_time,
                initialise=self._initialise,
            )
        return self._one_after_the_other(members)

    def _one_after_the_other(self, members: Sequence[Member]) -> Iterator[MemberEvent]:
        cool_down = thermal.make_gpu_throttle(
            self._device,
            self._config.max_gpu_temperature,
            self._callbacks.nvml,
            released=lambda: self._callbacks.should_stop() or self._callbacks.should_abandon(),
            callbacks=self._callbacks.training,
        )

        def before_batch() -> None:
            cool_down()
            if self._callbacks.should_abandon():
                raise Abandoned(f"run {self._run_id} was given up before it was trained; nothing is published.")

        for number, member in enumerate(members):
            if number and self._callbacks.should_stop():
                return
            control = LoopControl(
                should_stop=self._callbacks.should_stop,
                is_state_due=partial(self._checkpoints.is_state_due, member.key),
                before_batch=before_batch,
                callbacks=self._callbacks.training,
            )
            state = self._checkpoints.load_state(member.key)
            yield from train_member(self._dataset, self._config, member, self._device, state, control, self._initialise)

    def _conclude(self, stopped: bool) -> Result:
        """Judge, publish and write the result. It is written last: until then the run can be continued."""
        kept = self._checkpoints
        if self._config.pretrain:
            done = {member.key for member in self._members if kept.member_progress(member.key).done}
            found = pretrained(self._members, kept.histories, done)
            told = {"seconds": kept.seconds, "corpus_version": self._corpus_version}
            return self._end(found.model_copy(update=told))
        out = HeldoutEvaluation(self._dataset, self._config, self._learnt(), self._device)
        if out.judged:
            kept.write_with_retry(lambda: heldout.write_predictions(self._store, out.held_out(self._run_id)))
        self._draw()
        card = self._publish(out)
        tally = out.tally
        result = Result(
            state="stopped" if stopped else "succeeded",
            model_name=card.name if card else "",
            model_version=card.version if card else "",
            epochs=max(member.epochs for member in out.members),
            val_clips=tally.clips,
            val_correct=tally.correct,
            val_top5=tally.top5,
            val_continuous_correct=tally.continuous_correct,
            val_greedy_correct=tally.greedy_correct,
            val_empty=tally.empty,
            blank_ratio=tally.blank_ratio,
            collapsed=tally.collapsed or any(member.collapsed for member in out.members),
            goal=self._goal,
            goal_met=tally.clips > 0 and tally.correct >= self._goal * tally.clips,
            seconds=kept.seconds,
            corpus_version=self._corpus_version,
            glosses=out.glosses,
            folds=self._config.folds,
            members=out.members,
            ensemble=out.ensemble,
            actions=tuple(
                action for history in kept.histories.values() for epoch in history for action in epoch.actions
            ),
        )
        return self._end(result)

    def _end(self, result: Result) -> Result:
        """Write the result; the run has ended with it."""
        kept = self._checkpoints
        written = result.model_dump_json(indent=1).encode()
        kept.write_with_retry(lambda: self._store.put(keys.run(self._run_id, "result.json"), written))
        # What is left of them is in nobody's way.
        with contextlib.suppress(Unavailable):
            kept.delete_states()
        return result

    def _learnt(self) -> list[TrainedMember]:
        """The members that are trained; those that were stopped on their way only where there are no others."""
        done, stopped = [], []
        for member in self._members:
            epochs = len(self._checkpoints.histories[member.key])
            if (model := self._trained_before(member)) is not None:
                selected_on = self._checkpoints.member_progress(member.key).selected_on
                done.append(TrainedMember(member, model, epochs, complete=True, selected_on=selected_on))
            elif member.key in self._unfinished:
                model = self._restored(member, self._unfinished[member.key].weights)
                selected_on = self._unfinished[member.key].selected_on
                stopped.append(TrainedMember(member, model, epochs, complete=False, selected_on=selected_on))
        return done or stopped

    def _trained_before(self, member: Member) -> Recogniser | None:
        """The model of a member that is trained to its end; None of one that is not."""
        if not self._checkpoints.member_progress(member.key).done:
            return None
        return self._restored(member, self._checkpoints.load_weights(member.key))

    def _restored(self, member: Member, data: bytes) -> Recogniser:
        whose = f"run {self._run_id}: seed {member.key[1]}"
        return restore_model(self._config, len(self._dataset.manifest.vocabulary), data, whose)

    def _draw(self) -> None:
        histories = [history for history in self._checkpoints.histories.values() if history]
        glosses = len(self._dataset.manifest.vocabulary)
        title = f"{self._config.model_name}, run {self._run_id}: {glosses} glosses"
        curves = RunCurves(histories, self._config.num_epochs, self._config.start, self._goal, chance=1 / glosses)
        drawn = draw_run_curves(curves, title)
        self._checkpoints.write_with_retry(lambda: self._store.put(keys.run(self._run_id, "curves.svg"), drawn))

    @property
    def _goal(self) -> float:
        return self._config.target_accuracy or FIRST_GOAL

    def _publish(self, out: HeldoutEvaluation) -> ModelCard | None:
        """The published model's card; None where nothing is to be published."""
        model = out.published
        if model is None:
            return None
        # A process before this one may have published it, and ended without a result.
        earlier = find_published_model(self._store, self._run_id, self._config.model_name) if self._before else None
        return earlier or publish(self._store, self._dataset, self._config, self._run_id, model, out, self._checkpoints)
