"""A published model in memory: its card, its ONNX session, and how its output is read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from signet import registry
from signet.decoding import align, best_path, blank_ratio, penalise_blank, single_sign_posterior
from signet.errors import DataLoss, SignetError
from signet.landmarks import JOINTS
from signet.store import ObjectStore

ONNX_FILE = "model.onnx"

Frames = npt.NDArray[np.float32]

_INPUTS = {"landmarks": "tensor(float)", "lengths": "tensor(int64)"}
_OUTPUTS = {"log_probs": "tensor(float)"}

# More clips at once gain nothing on a CPU, and padding costs more.
_BATCH_CLIPS = 32
# Clips times padded frames; bounds a batch's memory to some 30 MB of landmarks, whatever lengths meet in it.
_BATCH_FRAMES = 32_768
# One second and some: what a published graph has to get through before it serves.
_PROBE_FRAMES = 16

# What onnxruntime raises for a file that is no usable graph and for a run that fails; they have no common base.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    RuntimeError,
)


@dataclass(frozen=True)
class Moment:
    """When something happens, in seconds from the clip's first frame."""

    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model says of one clip.

    Attributes:
        posterior: float64 [C]; p(gloss c alone | clip), normalised over the vocabulary.
        moment: when the most probable gloss is signed, were it the one sign of the clip (forced alignment).
        continuous: glosses that the model's continuous decoder finds.
        greedy: glosses of the best path.
        blank_ratio: share of frames whose best class is the blank.
        frames: how many frames the model saw.
    """

    posterior: npt.NDArray[np.float64]
    moment: Moment
    continuous: tuple[str, ...]
    greedy: tuple[str, ...]
    blank_ratio: float
    frames: int

    def ranking(self) -> npt.NDArray[np.intp]:
        """Indices into the vocabulary, most probable first; ties keep the vocabulary's order."""
        return np.argsort(-self.posterior, kind="stable")


class LoadedModel:
    """One version of a model, ready to run. Safe to use from several threads."""

    def __init__(self, card: registry.ModelCard, graph: bytes, threads: int = 0) -> None:
        """Build the session and prove that it is the graph that its card describes.

        Args:
            card: the version's card.
            graph: the ONNX file.
            threads: threads inside one operator; 0 takes one per core.

        Raises:
            DataLoss: the card or the graph is not one that this evaluator can serve.
        """
        self.card = card
        self.name = f"{card.name}/{card.version}"
        self._check_card()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin between requests take the cores that the extractor and the trainer need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except _ORT_ERRORS as error:
            raise self._fault(f"{ONNX_FILE} is no graph that onnxruntime can load ({_first_line(error)})") from error
        self._check_signature()
        self._probe()

    @classmethod
    def load(cls, store: ObjectStore, name: str, version: str, threads: int = 0) -> "LoadedModel":
        """Read a version from the store.

        Raises:
            NotFound: there is none.
            DataLoss: it is damaged, or not one that this evaluator can serve.
        """
        card = registry.read_card(store, name, version)
        return cls(card, registry.read_file(store, card, ONNX_FILE), threads)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The glosses; class c of the graph is vocabulary[c - 1]."""
        return self.card.vocabulary

    def log_probs(self, clips: Sequence[Frames], before_batch: Callable[[int], None] | None = None) -> list[Frames]:
        """Run the graph, clips of similar length together, padded with NaN.

        Args:
            clips: model inputs as `signet.landmarks.to_model_input` makes them, each float32 [T, 75, 3].
            before_batch: called with the number of clips before each run of the graph; may raise to stop.

        Returns:
            For each clip, float32 [T, C + 1]: log-probabilities of the blank (class 0) and the glosses.

        Raises:
            SignetError: the graph failed, or answered with something other than log-probabilities.
        """
        results: dict[int, Frames] = {}
        for batch in batches([len(clip) for clip in clips]):
            if before_batch is not None:
                before_batch(len(batch))
            answers = self._run([clips[index] for index in batch])
            results.update(zip(batch, answers, strict=True))
        return [results[index] for index in range(len(clips))]

    def read(self, log_probs: Frames) -> Reading:
        """Decode one clip's log-probabilities [T, C + 1]; see `read_all`."""
        (reading,) = self.read_all([log_probs])
        return reading

    def read_all(self, answers: Sequence[Frames]) -> list[Reading]:
        """Decode several clips' log-probabilities, each [T, C + 1], as the card says; sooner than one by one.

        The card's blank penalty is taken off before everything else.
        """
        readings: dict[int, Reading] = {}
        for batch in batches([len(answer) for answer in answers]):
            lengths = [len(answers[index]) for index in batch]
            # What pads is not looked at.
            padded = np.zeros((len(batch), max(lengths), len(self.vocabulary) + 1), np.float32)
            for row, index in zip(padded, batch, strict=True):
                row[: len(answers[index])] = answers[index]
            heard = self.card.decoder.decode(padded, lengths)
            readings.update(
                (index, self._read(answers[index], signs)) for index, signs in zip(batch, heard, strict=True)
            )
        return [readings[index] for index in range(len(answers))]

    def _read(self, log_probs: Frames, continuous: Sequence[int]) -> Reading:
        penalised = penalise_blank(log_probs, self.card.blank_penalty)
        posterior = single_sign_posterior(penalised)
        (span,) = align(penalised, [int(posterior.argmax()) + 1]).spans
        return Reading(
            posterior=posterior,
            moment=Moment(*span.seconds(self.card.frame_rate)),
            continuous=self._glosses(continuous),
            greedy=self._glosses(best_path(penalised)),
            blank_ratio=blank_ratio(penalised),
            frames=len(log_probs),
        )

    def _glosses(self, signs: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.vocabulary[c - 1] for c in signs)

    def _run(self, clips: Sequence[Frames]) -> list[Frames]:
        lengths = np.array([len(clip) for clip in clips], np.int64)
        padded = np.full((len(clips), lengths.max(), JOINTS, 3), np.nan, np.float32)
        for row, clip in zip(padded, clips, strict=True):
            row[: len(clip)] = clip
        try:
            (output,) = self._session.run(["log_probs"], {"landmarks": padded, "lengths": lengths})
        except _ORT_ERRORS as error:
            raise SignetError(
                f"model {self.name}: its graph failed on {len(clips)} clips of {lengths.min()} to {lengths.max()} "
                f"frames ({_first_line(error)}). Move the alias to another version, or publish the model again."
            ) from error
        expected = (*padded.shape[:2], len(self.vocabulary) + 1)
        if output.shape != expected:
            raise self._fault(f"its graph answers {list(output.shape)} where {list(expected)} is due")
        answers = [output[row, :length] for row, length in enumerate(lengths)]
        if not all(np.isfinite(answer).all() for answer in answers):
            raise SignetError(
                f"model {self.name}: its graph answers with numbers that are not finite. Publish the model again."
            )
        return answers

    def _check_card(self) -> None:
        card = self.card
        if card.schema_version != registry.SCHEMA:
            raise self._fault(
                f"its card is of schema {card.schema_version!r}, and this evaluator reads {registry.SCHEMA}"
            )
        if card.sampling_difference:
            raise self._fault(card.sampling_difference)
        if not card.vocabulary or len(set(card.vocabulary)) != len(card.vocabulary):
            raise self._fault("its vocabulary is empty or names a gloss twice")

    def _check_signature(self) -> None:
        for kind, wanted, found in (
            ("input", _INPUTS, self._session.get_inputs()),
            ("output", _OUTPUTS, self._session.get_outputs()),
        ):
            there = {node.name: node.type for node in found}
            if there != wanted:
                raise self._fault(f"its graph has the {kind}s {_listed(there)}; {_listed(wanted)} are due")

    def _probe(self) -> None:
        """Run once: finds a graph that cannot work, and takes the first run's cost away from the first caller."""
        (answer,) = self.log_probs([np.full((_PROBE_FRAMES, JOINTS, 3), np.nan, np.float32)])
        total = np.exp(answer.astype(np.float64)).sum(axis=-1)
        if not np.allclose(total, 1.0, atol=1e-3):
            raise self._fault("what its graph answers is not normalised: these are no log-probabilities")

    def _fault(self, fault: str) -> DataLoss:
        return DataLoss(f"model {self.name} cannot be served: {fault}. Train one anew with `signet train`.")


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of clips that run together, the shortest first, each batch bounded in clips and in padded frames."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if batch and (len(batch) == _BATCH_CLIPS or (len(batch) + 1) * lengths[index] > _BATCH_FRAMES):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _listed(nodes: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in sorted(nodes.items())) or "none"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
