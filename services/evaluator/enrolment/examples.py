"""Examples of a new sign: their embeddings, and the reasons for which they are refused."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from services.evaluator.enrolment.augmentation import make_variant
from services.evaluator.serving.clip_limits import load_isolated_clip
from services.evaluator.serving.loaded_model import LoadedModel
from signet.datasets.duplicates import find_near_duplicates
from signet.errors import InvalidInput, quote
from signet.landmarks import (
    SAMPLES_PER_FRAME,
    NothingSigned,
    to_model_input,
    to_subframe_samples,
    why_nothing_is_signed,
)
from signet.sign_embeddings import clip_vector, unit_vectors

if TYPE_CHECKING:
    from signet.landmarks import Landmarks

MAX_EXAMPLES = 20
# Variants of each example; with many examples fewer, so that a new sign has about as many vectors as with five.
_VARIANTS, _MAX_VECTORS = 8, 60

# The limits were chosen on clips of 20 signs of the training split of WLASL that a model had not learned
# (docs/experiments.md).
#
# How many signs the frames of an example emit, by their probabilities: about 1, and at least 0.6 in those clips.
_MIN_EMISSION = 0.3
# The cosine between an example and the mean of the others, as a mean over branches. Of those clips, 4 % are lower:
# under one gloss, WLASL has some different signs. Of clips of another sign, 45 % are lower.
_MIN_AGREEMENT = 0.05
# A sign is known if at least this share of its examples is recognised as one sign, with this mean probability (0 for
# the other examples). One or two examples say less.
_SIMILAR_SHARE, _SIMILAR_PROBABILITY = 0.6, 0.7
_FEW, _SIMILAR_PROBABILITY_OF_FEW = 2, 0.95

_REASONS = {
    NothingSigned.TOO_SHORT: "it is too short for a sign",
    NothingSigned.NO_HAND_FOUND: "no hand was found in it",
    NothingSigned.NO_HAND_MOVES: "no hand moves in it",
}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ExampleClip:
    """An example as it was given."""

    name: str  # its name in messages, such as a path
    landmarks: bytes  # a landmark tensor v1


class UnusableExamples(InvalidInput):
    """Some examples cannot be used.

    Args:
        faults: what is wrong with each; the message begins with its name.
        given: the number of all examples.
    """

    def __init__(self, faults: Sequence[str], given: int) -> None:
        count = f"{len(faults)} of {given} examples cannot be used. " if len(faults) > 1 else ""
        super().__init__(count + " ".join(faults))
        self.faults = tuple(faults)
        self.given = given


@dataclass(frozen=True, eq=False)
class EmbeddedExamples:
    """The examples of one sign in the embedding space of a model."""

    names: tuple[str, ...]
    originals: Floats  # [n, N, D], the vector of each example
    variants: Floats  # [m, N, D], those of their variants
    # [n], the place in the vocabulary of the sign that the model finds in each example, and its posterior probability.
    found: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]

    @property
    def vectors(self) -> Floats:
        """[n + m, N, D], of the examples and their variants."""
        return np.concatenate([self.originals, self.variants])


def embed_examples(model: LoadedModel, examples: Sequence[ExampleClip], branches: int) -> EmbeddedExamples:
    """Run a model on the examples of a sign and on variants of them.

    Raises:
        UnusableExamples: some examples cannot be used, or show nothing that is signed.
        InvalidInput: there are none, or too many, or two are the same recording.
        NotReady: the model has no embeddings.
    """
    check_count(len(examples))
    clips, inputs = _load_clips(examples)
    _check_distinct(examples, inputs)
    outputs = model.embed(inputs)
    faults = [
        f"{example.name}: the model finds no sign in it. Leave this example out."
        for example, (log_probs, _) in zip(examples, outputs, strict=True)
        if -np.expm1(log_probs[:, 0]).sum() < _MIN_EMISSION
    ]
    if faults:
        raise UnusableExamples(faults, len(examples))
    decoded = model.decode_all([log_probs for log_probs, _ in outputs])
    found = np.array([clip.posterior.argmax() for clip in decoded])
    count = max(1, min(_VARIANTS, _MAX_VECTORS // len(clips)))
    varied = [
        variant
        for clip, example in zip(clips, examples, strict=True)
        for variant in _make_variants(clip, example.landmarks, count)
    ]
    return EmbeddedExamples(
        names=tuple(example.name for example in examples),
        originals=np.array([clip_vector(*output, branches) for output in outputs]),
        variants=np.array([clip_vector(*output, branches) for output in model.embed(varied)]),
        found=found,
        confidence=np.array([clip.posterior[sign] for clip, sign in zip(decoded, found, strict=True)]),
    )


def check_agreement(embedded: EmbeddedExamples) -> None:
    """Refuse examples that do not show the same sign.

    Raises:
        InvalidInput: an example is far from the others. It is named.
    """
    vectors = embedded.originals
    if len(vectors) < 2:
        return
    total = vectors.sum(axis=0)
    others = unit_vectors(total - vectors)
    agreement = (vectors * others).sum(axis=-1).mean(axis=-1)
    worst = int(agreement.argmin())
    if agreement[worst] < _MIN_AGREEMENT:
        which = f"{embedded.names[worst]} differs from the other {len(vectors) - 1} examples"
        if len(vectors) == 2:
            which = f"{embedded.names[0]} and {embedded.names[1]} differ"
        raise InvalidInput(
            f"the examples disagree: {which} as much as clips of different signs do (cosine {agreement[worst]:.2f}; at "
            f"least {_MIN_AGREEMENT:g} is needed). Leave out what shows another sign. Enrol two forms of a sign as two "
            "signs."
        )


def check_novelty(embedded: EmbeddedExamples, vocabulary: Sequence[str], *, allow_similar: bool) -> str:
    """Refuse examples that the model recognises as a sign that it knows.

    Returns:
        A warning if they are not refused because of `allow_similar`; "" if the sign is new.

    Raises:
        InvalidInput: the examples look like a known sign. It is named.
    """
    signs = np.bincount(embedded.found, minlength=len(vocabulary))
    nearest = int(signs.argmax())
    count = len(embedded.names)
    probability = embedded.confidence[embedded.found == nearest].sum() / count
    needed = _SIMILAR_PROBABILITY_OF_FEW if count <= _FEW else _SIMILAR_PROBABILITY
    if signs[nearest] < _SIMILAR_SHARE * count or probability < needed:
        return ""
    finding = (
        f"the examples look like the sign {quote(vocabulary[nearest])}, which the model knows: it recognises "
        f"{signs[nearest]} of {count} as it, with probability {probability:.2f}"
    )
    if allow_similar:
        return f"{finding}. Clips of both signs may be confused."
    raise InvalidInput(
        f"{finding}. If it is another sign, enrol it with --allow-similar (allow_similar in a request); both may then "
        "be confused."
    )


def check_count(count: int) -> None:
    """Raises `InvalidInput` if there is no example, or if there are too many."""
    if not count:
        raise InvalidInput("no example was given. One is the least; five recognise the sign much better.")
    if count > MAX_EXAMPLES:
        raise InvalidInput(
            f"{count} examples were given; at most {MAX_EXAMPLES} are used. With more clips, train a model: `signet "
            "train`."
        )


def _load_clips(examples: Sequence[ExampleClip]) -> "tuple[list[Landmarks], list[Floats]]":
    """The clips of examples, and the inputs of the model [T, 75, 3]. Raises `UnusableExamples`."""
    clips, inputs, faults = [], [], list[str]()
    for example in examples:
        try:
            clip = load_isolated_clip(example.landmarks, example.name)
        except InvalidInput as error:
            faults.append(str(error))
            continue
        clips.append(clip)
        inputs.append(to_model_input(clip))
        if (reason := why_nothing_is_signed(inputs[-1])) is not None:
            faults.append(
                f"{example.name}: nothing is signed: {_REASONS[reason]}. Leave this example out, or film it again."
            )
    if faults:
        raise UnusableExamples(faults, len(examples))
    return clips, inputs


def _check_distinct(examples: Sequence[ExampleClip], inputs: Sequence[Floats]) -> None:
    """Refuse two examples that show the same recording: the second one says nothing new. Raises `InvalidInput`."""
    pairs = find_near_duplicates(np.concatenate(inputs), [len(frames) for frames in inputs])
    if pairs:
        first, second = examples[pairs[0].first].name, examples[pairs[0].second].name
        raise InvalidInput(
            f"{first} and {second} show the same recording. Leave one of them out: another take of the sign shows how "
            "much it varies, and a copy does not."
        )


def _make_variants(clip: "Landmarks", data: bytes, count: int) -> list[Floats]:
    """Variants of an example. Equal examples give equal variants."""
    samples = to_subframe_samples(clip)
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(data).digest()[:8], "big"))
    flat = samples.reshape(-1, *samples.shape[2:])
    return [make_variant(flat, SAMPLES_PER_FRAME, random) for _ in range(count)]
