"""The demo: real clips go through extractor, trainer and evaluator, driven over gRPC by an ordinary client."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.extractor.sources.wlasl import has_clips, read_wlasl
from services.local.messages import Narrator
from services.local.stack import LocalStack
from signet.client import Prediction, SignetClient
from signet.errors import NotFound, NotReady, SignetError, Unavailable
from signet.rpc.client import Client, signet_errors
from signet.terminal.command import run_command
from signet.terminal.output import Console, open_console, print_line, say_error
from signet.v1 import evaluator_pb2 as evaluator
from signet.v1 import extractor_pb2 as extractor
from signet.v1 import trainer_pb2 as trainer

CORPUS = "wlasl"
MODEL = "signet"
DATA = Path("data/demo")

# Exit status if there are no clips: nothing has failed, but the input is missing.
NO_CLIPS = 2

_CLIP_DIRECTORIES = (Path("../shared/wlasl"), Path("data/wlasl"))

# Timeouts in seconds, longer than any call takes on a slow machine, so that the demo does not wait for ever for a lost
# server.
_CALL_SECONDS = 120.0
_EXTRACTION_SECONDS = 3600.0
_TRAINING_SECONDS = 3600.0
_PICK_UP_SECONDS = 60.0
_PICK_UP_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class DemoResult:
    """The report, the prediction for the unseen clip with its true gloss, and the duration of the demo."""

    report: evaluator.ReportSummary
    best: Prediction
    truth: str
    seconds: float

    def __str__(self) -> str:
        """The last line of the demo, for programs that read its output."""
        report = self.report
        return (
            f"demo: top1={report.top1:.3f} n={report.clips} top5={report.top5:.3f} greedy={report.greedy_top1:.3f} "
            f"blank={report.blank_ratio:.2f} predicted={self.best.gloss} truth={self.truth} "
            f"p={self.best.probability:.2f} seconds={self.seconds:.0f}"
        )


@dataclass(frozen=True)
class UnseenClip:
    """A clip on which no model was trained."""

    clip_id: str
    gloss: str
    path: Path


def find_clips(given: str) -> Path | None:
    """Find the directory with WLASL_v0.3.json and clips: the given one, or the first usual directory that has them."""
    for folder in [Path(given)] if given else _CLIP_DIRECTORIES:
        if has_clips(folder):
            return folder
    return None


def unseen_clip(folder: Path, glosses: Sequence[str], broken: Sequence[str]) -> UnseenClip:
    """Find the val clip with the lowest id whose file is not bit-identical to a training clip.

    Args:
        folder: the directory with WLASL_v0.3.json and the clips.
        glosses: the vocabulary.
        broken: ids of unusable clips.

    Raises:
        NotFound: there is no such clip.
    """
    corpus = read_wlasl(folder)
    trained, candidates = set(), []
    for instance in corpus.instances:
        if instance.gloss not in glosses or instance.clip_id in broken or not corpus.has(instance):
            continue
        path = corpus.path(instance)
        if instance.split == "train":
            trained.add(hashlib.sha256(path.read_bytes()).digest())
        elif instance.split == "val" and instance.is_whole:
            candidates.append(UnseenClip(instance.clip_id, instance.gloss, path))
    for clip in sorted(candidates, key=lambda clip: clip.clip_id):
        if hashlib.sha256(clip.path.read_bytes()).digest() not in trained:
            return clip
    raise NotFound(f"{folder}: has no val clip of {', '.join(glosses)} that is not also a training clip.")


def run_demo(
    clips: Path,
    data: Path,
    console: Console,
    *,
    max_glosses: int = 20,
    samples_per_gloss: int = 0,
    num_epochs: int | None = None,
) -> DemoResult:
    """Extract, train, publish, evaluate and recognise, with a store and three services that run only for this call.

    Args:
        clips: directory with WLASL_v0.3.json and clips/.
        data: directory for store and logs. Clips that were extracted there before are not extracted again.
        console: shows the progress.
        max_glosses: number of glosses to learn, those with the most clips.
        samples_per_gloss: largest number of clips of each gloss; 0 takes all.
        num_epochs: number of epochs; None takes the trainer's default.

    Raises:
        SignetError: a step failed; the message says which one, why, and where the log is.
    """
    started = time.monotonic()
    narrator = Narrator(console)
    stack = LocalStack(data, clips, {"SIGNET_COMMIT": _commit()})
    with narrator.step("start") as step:
        step.show("an S3 store and three services")
        stack.start()
    try:
        addresses = [f"{name} {service.address}" for name, service in stack.services.items()]
        narrator.say("start", f"store {stack.store.url}, {', '.join(addresses)}; logs in {stack.logs}")
        with stack.client() as client, signet_errors():
            extraction = _extract(client, narrator, max_glosses, samples_per_gloss)
            model_version = _train(client, narrator, max_glosses, samples_per_gloss, num_epochs)
            report = _evaluate(client, narrator, model_version)
            clip = unseen_clip(clips, extraction.glosses, [failure.clip_id for failure in extraction.failures])
        best = _recognise(stack.services["evaluator"].address, narrator, clip, model_version)
    finally:
        with narrator.step("stop") as step:
            step.show("the services drain")
            stack.stop()
    return DemoResult(report, best, clip.gloss, time.monotonic() - started)


def _extract(client: Client, narrator: Narrator, max_glosses: int, samples: int) -> extractor.ExtractionProgress:
    with narrator.step("extract") as step:
        request = extractor.StartExtractionRequest(
            corpus=CORPUS, max_glosses=max_glosses, samples_per_gloss=samples, splits=["train", "val"]
        )
        started = client.extractor.StartExtraction(request, timeout=_CALL_SECONDS)
        progress = extractor.ExtractionProgress()
        watch = extractor.WatchExtractionRequest(extraction_id=started.extraction_id)
        for response in client.extractor.WatchExtraction(watch, timeout=_EXTRACTION_SECONDS):
            progress = response.progress
            done = progress.extracted + progress.present + progress.broken
            if progress.state == extractor.EXTRACTION_STATE_SELECTING:
                step.show("selecting the glosses with the most clips that decode", done, progress.total)
            else:
                step.show(f"{progress.frames} frames, {progress.broken} broken clips", done, progress.total)
    if progress.state != extractor.EXTRACTION_STATE_SUCCEEDED:
        state = extractor.ExtractionState.Name(progress.state)
        raise SignetError(f"the extraction did not succeed ({state}): {progress.error}")
    narrator.say(
        "extract",
        f"{progress.extracted} clips extracted, {progress.present} extracted before, {progress.broken} broken, "
        f"{progress.missing} without a file; {len(progress.glosses)} glosses",
    )
    for failure in progress.failures:
        narrator.say("extract", f"{failure.clip_id} is broken ({failure.reason}): {failure.message}")
    return progress


def _train(client: Client, narrator: Narrator, max_glosses: int, samples: int, num_epochs: int | None) -> str:
    config = trainer.TrainConfig(
        corpus=CORPUS, model_name=MODEL, max_glosses=max_glosses, samples_per_gloss=samples, train_past_target=True
    )
    if num_epochs is not None:
        config.num_epochs = num_epochs
    finished = trainer.RunFinished()
    with narrator.step("train") as step:
        run_id = client.trainer.StartRun(trainer.StartRunRequest(config=config), timeout=_CALL_SECONDS).run_id
        epochs = 0
        for response in client.trainer.WatchRun(trainer.WatchRunRequest(run_id=run_id), timeout=_TRAINING_SECONDS):
            match response.WhichOneof("event"):
                case "queued":
                    step.show(f"queued, {response.queued.runs_ahead} runs ahead")
                case "started":
                    epochs = response.started.num_epochs
                    _report_start(narrator, response.started)
                case "epoch":
                    step.show(_epoch_line(response.epoch), response.epoch.epoch, epochs)
                case "finished":
                    finished = response.finished
    if finished.state != trainer.RUN_STATE_SUCCEEDED or not finished.model_version:
        state = trainer.RunState.Name(finished.state)
        raise SignetError(f"the training did not succeed ({state}): {finished.error}")
    narrator.say(
        "train",
        f"published {finished.model_name}/{finished.model_version} after {finished.seconds:.0f} s: val "
        f"{finished.val_accuracy:.1%} exact, {finished.val_greedy_accuracy:.1%} greedy, "
        f"{'blank-collapsed' if finished.collapsed else 'not blank-collapsed'}",
    )
    return finished.model_version


def _report_start(narrator: Narrator, started: trainer.RunStarted) -> None:
    narrator.say(
        "train",
        f"{started.parameters:,} parameters on {started.gpu_name or started.device}; {started.glosses} glosses, "
        f"{started.train_clips} train clips, {started.val_clips} val clips, dataset {started.dataset_version}",
    )


def _epoch_line(epoch: trainer.EpochFinished) -> str:
    return (
        f"loss {epoch.train_loss:.3f}, val {epoch.val_loss:.3f}, val {epoch.val_correct}/{epoch.val_clips} exact, "
        f"{epoch.val_greedy_correct}/{epoch.val_clips} greedy, blank {epoch.blank_ratio:.0%}"
    )


def _evaluate(client: Client, narrator: Narrator, version: str) -> evaluator.ReportSummary:
    with narrator.step("evaluate") as step:
        step.show(f"{MODEL}/{version} on val")
        request = evaluator.RunEvaluationRequest(model_name=MODEL, model_version=version, split="val")
        report: evaluator.ReportSummary = client.evaluation.RunEvaluation(request, timeout=_CALL_SECONDS).summary
    narrator.say(
        "evaluate",
        f"top-1 {report.top1:.1%} (95 % interval {report.top1_low:.1%} to {report.top1_high:.1%}, n = {report.clips}), "
        f"top-5 {report.top5:.1%}, greedy {report.greedy_top1:.1%}; report {report.report_id}",
    )
    return report


def _recognise(address: str, narrator: Narrator, clip: UnseenClip, version: str) -> Prediction:
    with narrator.step("recognise") as step, SignetClient(address, timeout=_CALL_SECONDS) as client:
        step.show(f"{clip.path.name}, never trained on")
        answer = None
        deadline = time.monotonic() + _PICK_UP_SECONDS
        # The evaluator checks for new models every few seconds. Until then it has none, or the model of an earlier run.
        while answer is None or answer.model_version != version:
            if time.monotonic() > deadline:
                raise Unavailable(f"the evaluator does not serve {MODEL}/{version} after {_PICK_UP_SECONDS:.0f} s.")
            try:
                answer = client.recognise(clip.path)
            except NotReady:
                time.sleep(_PICK_UP_POLL_SECONDS)
    if answer.best is None:
        raise SignetError(f"{clip.path}: the evaluator returned no predictions.")
    narrator.say(
        "recognise",
        f"{clip.path.name}, truly {clip.gloss!r}, {answer.timing.total_seconds:.2f} s, of which "
        f"{answer.timing.extract_seconds:.2f} s for landmarks:",
    )
    for rank, prediction in enumerate(answer.predictions, 1):
        narrator.say("recognise", f"{rank}. {prediction.gloss:<14} {prediction.probability:6.1%}")
    return answer.best


def _commit() -> str:
    """The git commit of this code, for the report; "unknown" outside a repository."""
    try:
        folder = Path(__file__).parent
        return subprocess.check_output(
            ["git", "rev-parse", "HEAD"], cwd=folder, stderr=subprocess.DEVNULL, text=True
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main() -> int:
    """Run the demo on WLASL=<dir>, and return the exit status."""
    # SIGTERM is handled like Ctrl-C, so that every process is stopped in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = os.environ.get("WLASL", "")
    clips = find_clips(given)
    if clips is None:
        say_error(
            f"No clips: {given or ' or '.join(map(str, _CLIP_DIRECTORIES))} must hold WLASL_v0.3.json and "
            "clips/<video_id>.mp4."
        )
        say_error(
            "Get both from https://github.com/dxli94/WLASL (academic use), put them into data/wlasl, or name their "
            "directory: make demo WLASL=<dir>"
        )
        return NO_CLIPS
    console = open_console()
    try:
        outcome = run_demo(clips, DATA, console)
    except SignetError as error:
        say_error(f"demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        say_error("demo interrupted; extracted clips are kept.")
        return 130
    print_line(console, str(outcome))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
