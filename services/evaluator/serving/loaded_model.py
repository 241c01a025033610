"""A published model in memory: its card, its ONNX session and its decoder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from services.evaluator.serving.graph_check import find_forbidden_part
from services.evaluator.serving.servable_model import ServableModel
from services.evaluator.serving.stored_version import ONNX_FILE, StoredVersion
from services.evaluator.serving.watchdog import WATCHDOG
from signet import registry
from signet.decoding import BLANK, align_sign, collapse_path, log_softmax, penalise_blank, single_sign_scores
from signet.errors import DataLoss, NotReady, SignetError, quote
from signet.landmarks import JOINTS
from signet.parity import PARITY_FILE, ParityVector, largest_difference, load_parity
from signet.store import ObjectStore

Frames = npt.NDArray[np.float32]

_INPUTS = {"landmarks": "tensor(float)", "lengths": "tensor(int64)"}
_OUTPUTS = {"log_probs": "tensor(float)"}
# What graphs of competition heads have, too, and graphs of older versions of Signet lack: see
# services/trainer/export/onnx.py.
_EMBEDDINGS, _DOMINANCE = "embeddings", "dominance"

# Larger batches are no faster on a CPU, and need more padding.
_BATCH_CLIPS = 32
# Clips times padded frames. A graph of 50 glosses takes 15 kB for each of them, and keeps this memory.
_BATCH_FRAMES = 8_192
# A clip of 1.6 s, which every graph must process before it serves.
_PROBE_FRAMES = 16

# A run that takes longer is ended: at least 100 times what a frame takes on a slow core.
_RUN_SECONDS = 10.0
_FRAME_SECONDS = 0.02

# No folder has this name.
_NO_FOLDER = "/nonexistent/signet"

# onnxruntime raises these for an unusable file and for a failed run; they have no common base class.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    RuntimeError,
)


class ParityMismatch(DataLoss):
    """A model gives other answers here than in the trainer."""


@dataclass(frozen=True)
class TimeSpan:
    """A stretch of time, in seconds from the clip's first frame."""

    start: float
    end: float


@dataclass(frozen=True, eq=False)
class DecodedClip:
    """The decoded output of a model for one clip."""

    posterior: npt.NDArray[np.float64]  # float64 [C]; p(gloss c alone | clip), normalised over the vocabulary
    time_span: TimeSpan  # when the most probable gloss is signed, by forced alignment of that gloss alone
    continuous: tuple[str, ...]  # glosses that the model's continuous decoder finds
    greedy: tuple[str, ...]  # glosses of the best path
    blank_ratio: float  # share of frames whose best class is the blank
    frames: int  # number of frames that the model saw
    # The probability that the clip shows a sign of the vocabulary; None if the model's card has no score.
    in_vocabulary: float | None = None

    def ranking(self) -> npt.NDArray[np.intp]:
        """Indices into the vocabulary, the most probable gloss first; ties keep the vocabulary's order."""
        return np.argsort(-self.posterior, kind="stable")


class LoadedModel(ServableModel):
    """One version of a model with its session in this process. Safe to use from several threads."""

    def __init__(self, card: registry.ModelCard, graph: bytes, threads: int = 0, memory_bytes: int = 0) -> None:
        """Build the session of an ONNX file, and check that the graph is the one that its card describes.

        `threads` is the number of threads inside one operator; 0 means one per core. `memory_bytes` is what the trial
        of the model has measured.

        Raises:
            DataLoss: this evaluator cannot serve the card or the graph.
        """
        super().__init__(card, memory_bytes)
        self._check_card()
        self._decoder = card.decoder
        self._check_structure(graph)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin between requests would take cores from the extractor and the trainer.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Tensors in other files are refused above. If one were overlooked, it would be looked for here.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
        try:
            self._session: Any = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except _ORT_ERRORS as error:
            raise self._fault(f"{ONNX_FILE} is not a graph that onnxruntime can load ({_first_line(error)})") from error
        # Whether the graph has the input `dominance`. Graphs of older versions of Signet lack it.
        self.takes_dominance = any(node.name == _DOMINANCE for node in self._session.get_overridable_initializers())
        self._check_signature()
        self._probe()

    @classmethod
    def load(
        cls,
        store: ObjectStore,
        name: str,
        version: str,
        threads: int = 0,
        make_room: Callable[[int], None] | None = None,
    ) -> "LoadedModel":
        """Read a version from the store, and check it.

        Args:
            store: has the version.
            name: the model.
            version: the version, and no alias.
            threads: the number of threads inside one operator; 0 means one per core.
            make_room: called with the bytes of memory that the model needs before it is loaded; it may raise.

        Raises:
            NotFound: there is no such version.
            DataLoss: it is damaged, or this evaluator cannot serve it.
        """
        stored = StoredVersion.read(store, name, version)
        needed = stored.measure_memory()
        if make_room is not None:
            make_room(needed)
        return cls.from_stored(stored, threads, needed)

    @classmethod
    def from_stored(cls, stored: StoredVersion, threads: int = 0, memory_bytes: int = 0) -> "LoadedModel":
        """Build the session of a version, and compare its answers with its parity vector, if it has one.

        Raises:
            DataLoss: this process cannot serve it.
        """
        model = cls(stored.card, stored.graph, threads, memory_bytes)
        if stored.parity is not None:
            model.check_parity(load_parity(stored.parity, model.name))
        return model

    def check_parity(self, vector: ParityVector) -> None:
        """Compare this model's answers with those of the trainer.

        Raises:
            ParityMismatch: they differ by more than rounding.
        """
        difference = largest_difference(self.log_probs(vector.landmarks), vector.log_probs)
        if difference > vector.tolerance:
            raise ParityMismatch(
                f"model {self.name} cannot be served: its answers to {PARITY_FILE} differ from those of the trainer. "
                f"The largest difference of log-probabilities is {difference:.1e}; at most {vector.tolerance:.1e} is "
                "rounding. Publish it again, or run the evaluator with the version of onnxruntime in requirements.lock."
            )

    def log_probs(
        self,
        clips: Sequence[Frames],
        before_batch: Callable[[int], None] | None = None,
        dominance: Sequence[float] | None = None,
    ) -> list[Frames]:
        """Run the graph, clips of similar length together, padded with NaN.

        Args:
            clips: model inputs as `signet.landmarks.to_model_input` makes them, each float32 [T, 75, 3].
            before_batch: called before each run of the graph with the number of clips; it may raise to stop.
            dominance: for each clip, what is added to the graph's own measure of how much the left hand dominates. That
                measure is between -2 and 2, and the left hand is dominant if the sum is positive. A graph without this
                input ignores it.

        Returns:
            For each clip, float32 [T, C + 1]: log-probabilities of the blank (class 0) and the glosses.

        Raises:
            SignetError: the graph failed, or its output is not log-probabilities.
        """
        results: dict[int, Frames] = {}
        for batch in batch_indices([len(clip) for clip in clips]):
            if before_batch is not None:
                before_batch(len(batch))
            biases = None if dominance is None else [dominance[index] for index in batch]
            answers = self._run_graph([clips[index] for index in batch], biases)
            results.update(zip(batch, answers, strict=True))
        return [results[index] for index in range(len(clips))]

    def embed(self, clips: Sequence[Frames]) -> list[tuple[Frames, Frames]]:
        """Run the graph on each clip alone.

        Returns:
            For each clip, its log-probabilities float32 [T, C + 1] and its embeddings float32 [T, E].

        Raises:
            NotReady: the graph has no embeddings.
            SignetError: the graph failed, or its output is not log-probabilities.
        """
        if _EMBEDDINGS not in {node.name for node in self._session.get_outputs()}:
            raise NotReady(
                f"model {self.name} has no embeddings: it was exported by an older version of Signet, or it has a "
                "linear head. Train it again with the default head."
            )
        outputs = [self._run_outputs([clip], ["log_probs", _EMBEDDINGS], None) for clip in clips]
        return [
            (self._check_log_probs(log_probs, [clip])[0], embeddings[0])
            for clip, (log_probs, embeddings) in zip(clips, outputs, strict=True)
        ]

    def decode(self, log_probs: Frames) -> DecodedClip:
        """Decode one clip's log-probabilities [T, C + 1] with the card's decoder and blank penalty."""
        (decoded,) = self.decode_all([log_probs])
        return decoded

    def decode_all(self, log_probs: Sequence[Frames]) -> list[DecodedClip]:
        """Decode several clips as `decode` does."""
        decoded: dict[int, DecodedClip] = {}
        for batch in batch_indices([len(clip) for clip in log_probs]):
            decoded.update(zip(batch, self._decode([log_probs[index] for index in batch]), strict=True))
        return [decoded[index] for index in range(len(log_probs))]

    def _decode(self, clips: Sequence[Frames]) -> list[DecodedClip]:
        """Decode a batch of clips. The frames of all clips are processed together where this saves calls of numpy."""
        ends = np.cumsum([len(clip) for clip in clips]).tolist()
        penalised = penalise_blank(np.concatenate(clips), self.card.blank_penalty)
        paths = penalised.argmax(axis=-1)
        frames = [slice(end - len(clip), end) for clip, end in zip(clips, ends, strict=True)]
        log_posteriors = log_softmax(np.array([single_sign_scores(penalised[which]) for which in frames]))
        posteriors = np.exp(log_posteriors)
        score = self.card.vocabulary_score
        known = [None] * len(clips) if score is None else score(log_posteriors).tolist()
        best_signs = (posteriors.argmax(axis=-1) + 1).tolist()
        decoded = []
        for index, signs in enumerate(self._decoder.decode_clips(clips)):
            path = paths[frames[index]].tolist()
            span = align_sign(penalised[frames[index]], best_signs[index])
            decoded.append(
                DecodedClip(
                    posterior=posteriors[index],
                    time_span=TimeSpan(*span.seconds(self.card.frame_rate)),
                    continuous=self._glosses(signs),
                    greedy=self._glosses(collapse_path(path)),
                    blank_ratio=path.count(BLANK) / len(path),
                    frames=len(path),
                    in_vocabulary=known[index],
                )
            )
        return decoded

    def _glosses(self, signs: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.vocabulary[c - 1] for c in signs)

    def _run_graph(self, clips: Sequence[Frames], dominance: Sequence[float] | None = None) -> list[Frames]:
        (output,) = self._run_outputs(clips, ["log_probs"], dominance)
        return self._check_log_probs(output, clips)

    def _run_outputs(
        self, clips: Sequence[Frames], outputs: Sequence[str], dominance: Sequence[float] | None
    ) -> list[Frames]:
        """Run the graph on one batch: the outputs [B, T, ...] with these names."""
        lengths = np.array([len(clip) for clip in clips], np.int64)
        padded = np.full((len(clips), lengths.max(), JOINTS, 3), np.nan, np.float32)
        for row, clip in zip(padded, clips, strict=True):
            row[: len(clip)] = clip
        inputs = {"landmarks": padded, "lengths": lengths}
        if dominance is not None and self.takes_dominance:
            inputs[_DOMINANCE] = np.array(dominance, np.float32)
        try:
            with WATCHDOG.limit(_RUN_SECONDS + padded.shape[0] * padded.shape[1] * _FRAME_SECONDS) as options:
                found: list[Frames] = self._session.run(outputs, inputs, options)
                return found
        except _ORT_ERRORS as error:
            raise SignetError(
                f"model {self.name}: the graph failed on {len(clips)} clips of {lengths.min()} to {lengths.max()} "
                f"frames ({_first_line(error)}). Move the alias to another version, or publish the model again."
            ) from error

    def _check_log_probs(self, output: Frames, clips: Sequence[Frames]) -> list[Frames]:
        """The log-probabilities [T, C + 1] of each clip in a batch, after a check."""
        lengths = [len(clip) for clip in clips]
        expected = (len(clips), max(lengths), len(self.vocabulary) + 1)
        if output.shape != expected:
            raise self._fault(f"the output of its graph has shape {list(output.shape)} instead of {list(expected)}")
        answers = [output[row, :length] for row, length in enumerate(lengths)]
        if not all(np.isfinite(answer).all() for answer in answers):
            raise SignetError(f"model {self.name}: the output of its graph is not finite. Publish the model again.")
        return answers

    def _check_card(self) -> None:
        card = self.card
        if card.schema_version != registry.SCHEMA:
            raise self._fault(
                f"its card has schema {quote(card.schema_version)}, and this evaluator reads {quote(registry.SCHEMA)}"
            )
        if card.sampling_difference:
            raise self._fault(card.sampling_difference)
        if not card.vocabulary or len(set(card.vocabulary)) != len(card.vocabulary):
            raise self._fault("its vocabulary is empty or names a gloss twice")

    def _check_structure(self, graph: bytes) -> None:
        try:
            forbidden = find_forbidden_part(graph)
        except ValueError as error:
            raise self._fault(f"{ONNX_FILE} is not a graph that onnxruntime can load ({error})") from error
        if forbidden:
            raise self._fault(f"{ONNX_FILE} has {forbidden}, which no graph of Signet has")

    def _check_signature(self) -> None:
        for kind, expected, nodes in (
            ("input", _INPUTS, self._session.get_inputs()),
            ("output", _OUTPUTS, self._session.get_outputs()),
        ):
            actual = {node.name: node.type for node in nodes}
            if {name: type_ for name, type_ in actual.items() if name != _EMBEDDINGS} != expected:
                raise self._fault(f"its graph has the {kind}s {_listed(actual)}; expected are {_listed(expected)}")

    def _probe(self) -> None:
        """Run once, to find a graph that cannot work; the first caller then does not wait for the slow first run."""
        (answer,) = self.log_probs([np.full((_PROBE_FRAMES, JOINTS, 3), np.nan, np.float32)])
        total = np.exp(answer.astype(np.float64)).sum(axis=-1)
        if not np.allclose(total, 1.0, atol=1e-3):
            raise self._fault("the output of its graph is not normalised, so it holds no log-probabilities")
        if not np.isfinite(self.decode(answer).posterior).all():
            raise self._fault("the numbers of its card give no finite posterior")

    def _fault(self, fault: str) -> DataLoss:
        return DataLoss(f"model {self.name} cannot be served: {fault}. Train it again with `signet train`.")


def batch_indices(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Batches of clips by index, the shortest clips first; each batch is bounded in clips and in padded frames."""
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
