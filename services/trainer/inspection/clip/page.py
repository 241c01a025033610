"""The page about a clip: the stored landmarks, what the model sees of them, and the output of a model."""

from services.trainer.drawing.html import render
from services.trainer.features.groups import GROUPS
from services.trainer.inspection.clip.body_view import FeatureStatistics, compute_body_view
from services.trainer.inspection.clip.heatmap import STANDARD_LIMIT, draw_group_heatmaps
from services.trainer.inspection.clip.presence import draw_presence
from services.trainer.inspection.clip.skeleton import draw_films, draw_pictures
from services.trainer.inspection.posteriors import compute_posteriors, part_presence
from services.trainer.inspection.strip import draw_strip
from services.trainer.model.sign_model import SignModel
from signet import __version__
from signet.landmarks import FRAME_RATE, Landmarks, to_model_input
from signet.registry import ModelCard


def render_clip_page(clip: Landmarks, card_and_model: tuple[ModelCard, SignModel] | None = None) -> str:
    """The page about a stored clip. With a published model, it also shows the output of the model for the clip."""
    frames, record = to_model_input(clip), clip.record
    groups, statistics, posteriors, card = GROUPS, None, None, None
    if card_and_model is not None:
        card, model = card_and_model
        encoder = model.encoders[0]
        groups = encoder.architecture.groups
        statistics = FeatureStatistics(encoder.mean.numpy(), encoder.deviation.numpy())
        posteriors = compute_posteriors(model, card.decoder, card.vocabulary, record.clip_id, frames, record.gloss)
    view = compute_body_view(frames, groups, statistics)
    stored_film, seen_film = draw_films(clip, view)
    return render(
        "features.html",
        record=record,
        clip=clip,
        view=view,
        seen_film=seen_film,
        stored_film=stored_film,
        pictures=draw_pictures(view),
        presence=draw_presence(clip, part_presence(frames), view.mirrored),
        handless=float(1 - view.present[:, 1:].any(axis=1).mean()),
        heatmaps=draw_group_heatmaps(view, standardised=statistics is not None),
        unused_groups=[group for group in GROUPS if group not in groups],
        posteriors=posteriors,
        strip=draw_strip(posteriors) if posteriors is not None else None,
        unknown_gloss=posteriors is not None and bool(record.gloss) and posteriors.truth is None,
        card=card,
        frame_rate=FRAME_RATE,
        standardised=statistics is not None,
        standard_limit=STANDARD_LIMIT,
        version=__version__,
    )
