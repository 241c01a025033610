"""Adds signs to a published model, and takes enrolled ones away. The result is a new version."""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from services.evaluator.enrolment.examples import (
    EmbeddedExamples,
    ExampleClip,
    check_agreement,
    check_novelty,
    embed_examples,
)
from services.evaluator.enrolment.fit import fit_directions
from services.evaluator.enrolment.graph_file import replace_directions
from services.evaluator.enrolment.measurement import TrainedFigures, measure_trained_signs
from services.evaluator.enrolment.parent import Parent, check_new_gloss, read_parent
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.stored_version import ONNX_FILE
from signet import registry
from signet.errors import Conflict, NotFound, NotReady, quote
from signet.parity import PARITY_FILE, dump_parity
from signet.registry import LATEST, MAX_REASON_CHARACTERS, Enrolment, ModelCard
from signet.sign_embeddings import EMBEDDINGS_FILE, SignEmbeddings, dump_embeddings
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# With fewer examples, it is said that the sign is recognised much worse.
_GOOD_EXAMPLES = 3

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EnrolmentResult:
    """A version that was published by an enrolment, or by forgetting a sign."""

    card: ModelCard
    parent_version: str
    figures: TrainedFigures  # how the trained signs are recognised, before and after
    warnings: tuple[str, ...]  # for people
    seconds: float


def enrol(
    store: ObjectStore,
    model_name: str,
    gloss: str,
    examples: Sequence[ExampleClip],
    *,
    version: str = LATEST,
    allow_similar: bool = False,
    threads: int = 1,
    trial: bool = False,
) -> EnrolmentResult:
    """Add a sign to a published model, and move the alias `latest` to the new version.

    Args:
        store: has the model, unless it is the one that comes with Signet. The new version is published here.
        model_name: the model.
        gloss: the name of the new sign.
        examples: 1 to 20 clips of it.
        version: the version or alias to start from.
        allow_similar: enrol also if the examples look like a sign that the model knows.
        threads: the number of threads inside one operator of the model; 0 means one per core.
        trial: try the stored model in a child process first, as a server does: who can write models must not be able to
            stop it. A model that this process has tried before is not tried again.

    Raises:
        InvalidInput: the gloss or an example cannot be used; the message says which, and why.
        AlreadyExists: the model knows a sign of this name.
        NotFound: there is no such model or version.
        NotReady: the version has no embeddings, so that no sign can be added to it.
        Conflict: another program has moved `latest` meanwhile. Nothing is published.
        InvalidSetting: this process trusts only signed models, and cannot sign.
    """
    started = time.perf_counter()
    gloss = gloss.strip()
    parent = read_parent(store, model_name, version, trial)
    check_new_gloss(parent.card, gloss)
    model = LoadedModel(parent.card, parent.graph, threads)
    embedded = embed_examples(model, examples, parent.kept.directions.shape[1])
    check_agreement(embedded)
    warnings = list(_warn_of_few(len(examples)))
    similar = check_novelty(embedded, parent.card.vocabulary, allow_similar=allow_similar)
    if similar:
        warnings.append(similar)
    kept = _add_sign(parent, embedded)
    reason = f"enrolled {quote(gloss)} from {len(examples)} examples"
    return _publish(store, parent, model, kept, (*parent.card.vocabulary, gloss), reason, warnings, started, threads)


def forget(
    store: ObjectStore, model_name: str, gloss: str, *, version: str = LATEST, threads: int = 1, trial: bool = False
) -> EnrolmentResult:
    """Take an enrolled sign away from a model, and move the alias `latest` to the new version.

    Arguments and errors are those of `enrol`. A sign of the training is not forgotten.

    Raises:
        NotFound: the model knows no such sign.
        NotReady: the sign was trained, not enrolled.
    """
    started = time.perf_counter()
    gloss = gloss.strip()
    parent = read_parent(store, model_name, version, trial)
    vocabulary = parent.card.vocabulary
    if gloss not in vocabulary:
        enrolled = ", ".join(map(quote, vocabulary[parent.kept.trained :])) or "none"
        raise NotFound(f"model {parent.name} knows no sign {quote(gloss)}. Signs that were enrolled: {enrolled}.")
    place = vocabulary.index(gloss)
    if place < parent.kept.trained:
        raise NotReady(
            f"{quote(gloss)} was trained, and cannot be forgotten: the model would still take its signing for other "
            "signs. Train a model without it."
        )
    stays = parent.kept.signs != place
    signs = parent.kept.signs[stays]
    kept = replace(parent.kept, vectors=parent.kept.vectors[stays], signs=signs - (signs > place))
    model = LoadedModel(parent.card, parent.graph, threads)
    remaining = tuple(known for known in vocabulary if known != gloss)
    return _publish(store, parent, model, kept, remaining, f"forgot {quote(gloss)}", [], started, threads)


def _warn_of_few(examples: int) -> Sequence[str]:
    if examples >= _GOOD_EXAMPLES:
        return ()
    number = "one example" if examples == 1 else f"{examples} examples"
    return (f"with {number} the sign is recognised much worse than with five. Forget it and enrol it with more.",)


def _add_sign(parent: Parent, embedded: EmbeddedExamples) -> SignEmbeddings:
    kept = parent.kept
    added = np.full(len(embedded.vectors), len(parent.card.vocabulary), np.int64)
    # float16, as they are stored: a later fit then gives the same directions.
    vectors = np.concatenate([kept.vectors, embedded.vectors.astype(np.float16).astype(np.float32)])
    return replace(kept, vectors=vectors, signs=np.concatenate([kept.signs, added]))


def _publish(
    store: ObjectStore,
    parent: Parent,
    model: LoadedModel,
    kept: SignEmbeddings,
    vocabulary: tuple[str, ...],
    reason: str,
    warnings: Sequence[str],
    started: float,
    threads: int,
) -> EnrolmentResult:
    """Fit the directions, measure the new model, and publish it."""
    directions = fit_directions(kept, len(vocabulary))
    graph = replace_directions(parent.graph, directions)
    files = {ONNX_FILE: graph, EMBEDDINGS_FILE: dump_embeddings(kept)}
    origin = "\n".join([parent.card.version, *vocabulary]).encode()
    version = registry.new_version(parent.card.run_id, b"".join(files.values()) + origin, enrolled=True)
    difference = len(vocabulary) - len(parent.card.vocabulary)
    card = parent.card.model_copy(
        update={
            "version": version,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "vocabulary": vocabulary,
            "parameters": parent.card.parameters + difference * kept.directions[0].size,
        }
    )
    renewed = LoadedModel(card, graph, threads)
    if parent.parity is not None:
        answers = renewed.log_probs(parent.parity.landmarks)
        files[PARITY_FILE] = dump_parity(replace(parent.parity, log_probs=tuple(answers)))
    figures = measure_trained_signs(store, parent.card, (model, renewed), kept, (parent.directions, directions))
    card = card.model_copy(
        update={
            "metrics": figures.metrics or parent.card.metrics,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            "enrolment": Enrolment(
                parent=parent.card.version,
                trained=kept.trained,
                measured_on=figures.measured_on,
                clips=figures.clips,
                correct=figures.after,
                parent_correct=figures.before,
            ),
        }
    )
    try:
        registry.publish(store, card, files, reason=reason[:MAX_REASON_CHARACTERS], expected_from=parent.latest)
    except Conflict as error:
        registry.delete(store, card.name, version)
        raise Conflict(
            f"{error} Another program has published a version meanwhile. Nothing was changed; try again."
        ) from error
    _log.info("published %s/%s: %s", card.name, card.version, reason)
    return EnrolmentResult(card, parent.card.version, figures, tuple(warnings), time.perf_counter() - started)
