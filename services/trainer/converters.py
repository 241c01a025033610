"""Convert between the messages of the gRPC contract and the trainer's own types."""

from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.events import MemberEpoch, RunStarted
from services.trainer.runs.listing import RunSummary
from services.trainer.runs.queue import QueuedRun, RunEvent, RunFailure
from services.trainer.runs.result import HeldOutCounts, MemberResult, Result, spread_over_seeds
from signet.errors import InvalidInput, quote
from signet.v1 import trainer_pb2 as pb

STATES = {
    "queued": pb.RUN_STATE_QUEUED,
    "running": pb.RUN_STATE_RUNNING,
    "succeeded": pb.RUN_STATE_SUCCEEDED,
    "stopped": pb.RUN_STATE_STOPPED,
    "failed": pb.RUN_STATE_FAILED,
    "interrupted": pb.RUN_STATE_INTERRUPTED,
}


def config_from_message(message: pb.TrainConfig) -> TrainConfig:
    """The configuration of a new run. Fields that are not set have their default.

    Raises:
        InvalidInput: a value is not valid; the message names all such fields.
    """
    try:
        return TrainConfig.model_validate(set_fields(message))
    except ValidationError as error:
        faults = "; ".join(
            f"{fault['loc'][0]}={quote(fault['input'])}: {fault['msg']}" if fault["loc"] else fault["msg"]
            for fault in error.errors()
        )
        raise InvalidInput(
            f"invalid training configuration: {faults}. `signet train --help` explains each field."
        ) from error


def set_fields(message: pb.TrainConfig) -> dict[str, Any]:
    """The fields of a message that are set."""
    return {descriptor.name: value for descriptor, value in message.ListFields()}


def event_to_message(event: RunEvent) -> pb.WatchRunResponse:
    """An event of a run."""
    if isinstance(event, RunStarted):
        return pb.WatchRunResponse(started=pb.RunStarted(**asdict(event), members=event.members))
    if isinstance(event, MemberEpoch):
        return pb.WatchRunResponse(epoch=_epoch_to_message(event))
    return pb.WatchRunResponse(finished=_end_to_message(event))


def queued_to_message(runs_ahead: int) -> pb.WatchRunResponse:
    """The event of a run that waits for others."""
    return pb.WatchRunResponse(queued=pb.RunQueued(runs_ahead=runs_ahead))


def state_to_message(run: QueuedRun) -> pb.StopRunResponse:
    """The state of a run that was asked to stop."""
    return pb.StopRunResponse(state=STATES[run.state])


def summary_to_message(summary: RunSummary) -> pb.RunSummary:
    """One run in the list of runs."""
    return pb.RunSummary(**asdict(summary) | {"state": STATES[summary.state]})


def _epoch_to_message(event: MemberEpoch) -> pb.EpochFinished:
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


def _end_to_message(event: Result | RunFailure) -> pb.RunFinished:
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
        members=[_member_to_message(member) for member in event.members],
        seed_sd=spread_over_seeds(event.seeds.values(), lambda seed: seed.correct / seed.clips)[1] or 0.0,
        ensemble=_counts_to_message(event.ensemble) if event.ensemble else None,
        pretrained=event.pretrained,
        val_loss=event.val_loss,
    )


def _member_to_message(member: MemberResult) -> pb.MemberResult:
    counts = _counts_to_message(member)
    return pb.MemberResult(fold=member.fold, seed=member.seed, epochs=member.epochs, tally=counts)


def _counts_to_message(counts: HeldOutCounts) -> pb.Tally:
    """The message has the fields of `HeldOutCounts`, under the same names."""
    return pb.Tally(**counts.model_dump(include=set(HeldOutCounts.model_fields)))
