"""Between the contract's messages and the trainer's own types."""

from dataclasses import fields
from typing import Any

from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.events import MemberEpoch, RunStarted
from services.trainer.runs.listing import RunSummary
from services.trainer.runs.queue import QueuedRun, RunEvent, RunFailure
from services.trainer.runs.result import HeldoutCounts, MemberResult, Result, spread_over_seeds
from signet.errors import InvalidInput
from signet.v1 import trainer_pb2 as pb

STATES = {
    "queued": pb.RUN_STATE_QUEUED,
    "running": pb.RUN_STATE_RUNNING,
    "succeeded": pb.RUN_STATE_SUCCEEDED,
    "stopped": pb.RUN_STATE_STOPPED,
    "failed": pb.RUN_STATE_FAILED,
    "interrupted": pb.RUN_STATE_INTERRUPTED,
}


def config_from(message: pb.TrainConfig) -> TrainConfig:
    """A run's configuration; what is unset takes its default.

    Raises:
        InvalidInput: a field has an unusable value; the message names all such fields.
    """
    try:
        return TrainConfig.model_validate(given_in(message))
    except ValidationError as error:
        faults = "; ".join(
            f"{fault['loc'][0]}={fault['input']!r}: {fault['msg']}" if fault["loc"] else fault["msg"]
            for fault in error.errors()
        )
        raise InvalidInput(
            f"unusable training configuration: {faults}. `signet train --help` explains each."
        ) from error


def given_in(message: pb.TrainConfig) -> dict[str, Any]:
    """The fields of a configuration that are set."""
    return {descriptor.name: value for descriptor, value in message.ListFields()}


def event_to(event: RunEvent) -> pb.WatchRunResponse:
    """A run's event."""
    if isinstance(event, RunStarted):
        found = {one.name: getattr(event, one.name) for one in fields(event)}
        return pb.WatchRunResponse(started=pb.RunStarted(**found, members=event.members))
    if isinstance(event, MemberEpoch):
        return pb.WatchRunResponse(epoch=_epoch_to(event))
    return pb.WatchRunResponse(finished=_finished_to(event))


def _epoch_to(event: MemberEpoch) -> pb.EpochFinished:
    epoch, val, train = event.epoch, event.epoch.val, event.epoch.train
    return pb.EpochFinished(
        epoch=epoch.number,
        train_loss=epoch.train_loss,
        val_loss=val.loss,
        val_correct=val.correct,
        val_clips=val.clips,
        val_greedy_correct=val.greedy_correct,
        blank_ratio=val.blank_ratio,
        seconds=epoch.seconds,
        best=epoch.best,
        val_empty=val.empty,
        train_correct=train.correct if train else 0,
        train_clips=train.clips if train else 0,
        val_top5=val.top5,
        val_continuous_correct=val.continuous_correct,
        val_continuous_empty=val.continuous_empty,
        learning_rate=epoch.learning_rate,
        actions=epoch.actions,
        member=event.member,
        fold=event.fold,
        seed=event.seed,
    )


def queued_to(runs_ahead: int) -> pb.WatchRunResponse:
    """The event of a run that waits."""
    return pb.WatchRunResponse(queued=pb.RunQueued(runs_ahead=runs_ahead))


def _finished_to(event: Result | RunFailure) -> pb.RunFinished:
    if isinstance(event, RunFailure):
        return pb.RunFinished(state=STATES[event.state], error=event.message)
    return pb.RunFinished(
        state=STATES[event.state],
        model_name=event.model_name,
        model_version=event.model_version,
        val_accuracy=event.val_accuracy,
        val_greedy_accuracy=event.val_greedy_accuracy,
        val_clips=event.val_clips,
        goal_met=event.goal_met,
        collapsed=event.collapsed,
        seconds=event.seconds,
        val_continuous_accuracy=event.val_continuous_correct / event.val_clips if event.val_clips else 0.0,
        val_top5_accuracy=event.val_top5 / event.val_clips if event.val_clips else 0.0,
        blank_ratio=event.blank_ratio,
        members=[_member_to(member) for member in event.members],
        seed_sd=spread_over_seeds(event.seeds.values(), lambda seed: seed.correct / seed.clips)[1] or 0.0,
        ensemble=_tally_to(event.ensemble) if event.ensemble else None,
        pretrained=event.pretrained,
        val_loss=event.val_loss,
    )


def _member_to(member: MemberResult) -> pb.MemberResult:
    return pb.MemberResult(fold=member.fold, seed=member.seed, epochs=member.epochs, tally=_tally_to(member))


def _tally_to(tally: HeldoutCounts) -> pb.Tally:
    return pb.Tally(
        clips=tally.clips,
        correct=tally.correct,
        top5=tally.top5,
        continuous_correct=tally.continuous_correct,
        continuous_empty=tally.continuous_empty,
        greedy_correct=tally.greedy_correct,
        empty=tally.empty,
        blank_ratio=tally.blank_ratio,
        concatenated=tally.concatenated,
        gloss_errors=tally.gloss_errors,
        stream_gloss_errors=tally.stream_gloss_errors,
    )


def state_to(run: QueuedRun) -> pb.StopRunResponse:
    """Where a run is after it was told to stop."""
    return pb.StopRunResponse(state=STATES[run.state])


def summary_to(summary: RunSummary) -> pb.RunSummary:
    """One line of the list of runs."""
    return pb.RunSummary(
        run_id=summary.run_id,
        state=STATES[summary.state],
        epochs=summary.epochs,
        val_accuracy=summary.val_accuracy,
        model_version=summary.model_version,
        members=summary.members,
        members_done=summary.members_done,
        val_clips=summary.val_clips,
    )
