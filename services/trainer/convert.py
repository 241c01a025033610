"""Between the contract's messages and the trainer's own types."""

from pydantic import ValidationError

from services.trainer.config import TrainConfig
from services.trainer.run import Result, Started
from services.trainer.runs import Event, Failure, Run, Summary
from services.trainer.training import Epoch
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
    given = {descriptor.name: value for descriptor, value in message.ListFields()}
    try:
        return TrainConfig.model_validate(given)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}={fault['input']!r}: {fault['msg']}" for fault in error.errors())
        raise InvalidInput(
            f"unusable training configuration: {faults}. `signet train --help` explains each."
        ) from error


def event_to(event: Event) -> pb.WatchRunResponse:
    """A run's event."""
    if isinstance(event, Started):
        return pb.WatchRunResponse(started=pb.RunStarted(**vars(event)))
    if isinstance(event, Epoch):
        return pb.WatchRunResponse(
            epoch=pb.EpochFinished(
                epoch=event.number,
                train_loss=event.train_loss,
                val_loss=event.val.loss,
                val_correct=event.val.correct,
                val_clips=event.val.clips,
                val_greedy_correct=event.val.greedy_correct,
                blank_ratio=event.val.blank_ratio,
                seconds=event.seconds,
                best=event.best,
                val_empty=event.val.empty,
                train_correct=event.train.correct if event.train else 0,
                train_clips=event.train.clips if event.train else 0,
            )
        )
    return pb.WatchRunResponse(finished=_finished_to(event))


def queued_to(runs_ahead: int) -> pb.WatchRunResponse:
    """The event of a run that waits."""
    return pb.WatchRunResponse(queued=pb.RunQueued(runs_ahead=runs_ahead))


def _finished_to(event: Result | Failure) -> pb.RunFinished:
    if isinstance(event, Failure):
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
    )


def state_to(run: Run) -> pb.StopRunResponse:
    """Where a run is after it was told to stop."""
    return pb.StopRunResponse(state=STATES[run.state])


def summary_to(summary: Summary) -> pb.RunSummary:
    """One line of the list of runs."""
    return pb.RunSummary(
        run_id=summary.run_id,
        state=STATES[summary.state],
        epochs=summary.epochs,
        val_accuracy=summary.val_accuracy,
        model_version=summary.model_version,
    )
