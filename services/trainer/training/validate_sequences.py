"""The gloss errors of a model on sequences of isolated clips, which stand for continuous signing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from services.trainer.data.batches import Clips, find_left_handed
from services.trainer.model.sign_model import SignModel, length_mask
from services.trainer.training.validate import PADDED_FRAMES, evaluation_mode
from signet.datasets.snapshot import Dataset, DatasetClip
from signet.decoding import ContinuousDecoder
from signet.landmarks.concatenation import Joining, concatenate
from signet.statistics.gloss_errors import GlossErrors, gloss_errors

# The number of clips in a sequence.
SEQUENCE_CLIPS = 3


@dataclass(frozen=True)
class ConcatenationErrors:
    """Gloss errors on sequences of isolated clips, which were joined in two ways."""

    joined_features: GlossErrors  # features are computed for each clip, and then joined, as in training
    # Landmarks are joined, and then features are computed, as from one video: the model finds one body and one dominant
    # hand for all signers of a sequence. This is harder, and closer to real video. Results store it as "stream".
    joined_landmarks: GlossErrors


@torch.no_grad()
def evaluate_sequences(model: SignModel, clips: Clips, decoder: ContinuousDecoder, seed: int) -> ConcatenationErrors:
    """Gloss errors on random sequences of `SEQUENCE_CLIPS` clips. A clip is in one sequence; a remainder is left out.

    The seed gives the order, which is the same for every model, device and way to join the clips. The model's mode is
    restored afterwards.
    """
    sequences = len(clips) // SEQUENCE_CLIPS
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(clips))[: sequences * SEQUENCE_CLIPS])
    longest = SEQUENCE_CLIPS * int(clips.lengths.max()) if sequences else 1
    clips_at_a_time = SEQUENCE_CLIPS * max(1, PADDED_FRAMES // longest)
    features, landmarks = GlossErrors(), GlossErrors()
    with evaluation_mode(model):
        for rows in torch.split(order.to(clips.starts.device), clips_at_a_time) if sequences else ():
            part = clips.select(rows)
            joined = _join_landmarks(part)
            signed = part.labels.view(-1, SEQUENCE_CLIPS).tolist()
            joined_features = model.features(*joined.padded(), joined.lengths)
            landmarks += _count_errors(model, joined_features, joined.lengths, signed, decoder)
            clip_features = model.features(*part.padded(), part.lengths)
            of_sequences = torch.zeros_like(joined_features)
            of_sequences[length_mask(of_sequences, joined.lengths)] = clip_features[
                length_mask(clip_features, part.lengths)
            ]
            features += _count_errors(model, of_sequences, joined.lengths, signed, decoder)
    return ConcatenationErrors(features, landmarks)


@torch.no_grad()
def evaluate_signing(
    model: SignModel,
    dataset: Dataset,
    clips: Sequence[DatasetClip],
    decoder: ContinuousDecoder,
    joining: Joining,
    seed: int,
) -> GlossErrors:
    """Gloss errors on the same sequences as those of `evaluate_sequences`, joined as one signer would sign them.

    All clips are placed on one body, and clips of left-handed signers are mirrored
    (`signet.landmarks.concatenation.concatenate`).
    """
    order = np.random.default_rng(seed).permutation(len(clips))[: len(clips) // SEQUENCE_CLIPS * SEQUENCE_CLIPS]
    left_handed = find_left_handed(dataset, clips)
    device = next(model.parameters()).device
    errors = GlossErrors()
    with evaluation_mode(model):
        for rows in order.reshape(-1, SEQUENCE_CLIPS).tolist():
            frames = [np.asarray(dataset.clip_frames(clips[row])) for row in rows]
            glosses = [clips[row].gloss for row in rows]
            joined = concatenate(frames, glosses, joining, [left_handed[row] for row in rows]).frames
            lengths = torch.tensor([len(joined)], device=device)
            features = model.compute_features(torch.from_numpy(joined)[None].to(device), lengths)
            signed = [dataset.label(clips[row]) for row in rows]
            errors += _count_errors(model, features, lengths, [signed], decoder)
    return errors


def _count_errors(
    model: SignModel, features: Tensor, lengths: Tensor, signed: list[list[int]], decoder: ContinuousDecoder
) -> GlossErrors:
    """The decoder's errors in sequences with features [B, T, D], which hold these signs."""
    log_probs = model.log_probs(features, lengths).cpu().numpy()
    decoded = decoder.decode(log_probs, lengths.cpu().numpy())
    return sum((gloss_errors(*pair) for pair in zip(signed, decoded, strict=True)), GlossErrors())


def _join_landmarks(clips: Clips) -> Clips:
    """Each `SEQUENCE_CLIPS` consecutive clips as one clip. The labels have no meaning."""
    steps = torch.arange(int(clips.lengths.max()), device=clips.starts.device)
    rows = clips.samples_per_frame * (clips.starts[:, None] + steps)[steps < clips.lengths[:, None]]
    lengths = clips.lengths.view(-1, SEQUENCE_CLIPS).sum(dim=1)
    return replace(
        clips,
        joints=clips.joints[rows],
        present=clips.present[rows],
        samples_per_frame=1,
        starts=lengths.cumsum(0) - lengths,
        lengths=lengths,
        labels=clips.labels[::SEQUENCE_CLIPS],
        active=clips.active[::SEQUENCE_CLIPS],
        left_handed=clips.left_handed[::SEQUENCE_CLIPS],
    )
