"""A clip as one page: what is stored, what the model sees of it, and what a model says."""

from dataclasses import dataclass

from services.trainer.drawing import html as environment
from services.trainer.drawing import strip
from services.trainer.drawing.posteriors import Reading, presence, read
from services.trainer.drawing.svg import Drawing
from services.trainer.features.groups import GROUPS
from services.trainer.features.names import UNITS
from services.trainer.inspection.clip import heatmap as heat
from services.trainer.inspection.clip import presence as presences
from services.trainer.inspection.clip import skeleton
from services.trainer.inspection.clip.body_view import Sight, Standard, look
from services.trainer.inspection.clip.heatmap import Column
from services.trainer.model.recogniser import Recogniser
from signet import __version__
from signet.landmarks import FRAME_RATE, Landmarks, to_model_input
from signet.registry import ModelCard

# Deviations from the mean that have the strongest colour; the model itself cuts at twice as many.
_REACH = 3.0


@dataclass(frozen=True)
class Group:
    """One group of features, drawn.

    Attributes:
        name: of the group.
        unit: in what it is measured.
        reach: the value of the strongest colour.
        drawing: its rows.
    """

    name: str
    unit: str
    reach: float
    drawing: Drawing


def draw(clip: Landmarks, model: tuple[ModelCard, Recogniser] | None = None) -> str:
    """The page of a clip.

    Args:
        clip: as it is stored.
        model: a published model that is to be asked about it; without one, nobody is.
    """
    frames = to_model_input(clip)
    groups, standard, reading, card = GROUPS, None, None, None
    if model is not None:
        card, recogniser = model
        groups, standard = _groups(recogniser), _standard(recogniser)
        reading = read(recogniser, card.decoder, card.vocabulary, clip.record.clip_id, frames, clip.record.gloss)
    sight = look(frames, groups, standard)
    stored, seen = skeleton.films(clip, sight)
    return environment.render(
        "features.html",
        record=clip.record,
        clip=clip,
        sight=sight,
        seen=seen,
        stored=stored,
        sheet=skeleton.sheet(sight),
        presence=presences.draw(clip, presence(frames), sight.mirrored),
        handless=presences.lost(sight),
        groups=_drawn(sight, standard is not None),
        left_out=[group for group in GROUPS if group not in groups],
        reading=reading,
        strip=strip.draw(reading) if reading is not None else None,
        unknown=_unknown(reading, clip.record.gloss),
        card=card,
        rate=FRAME_RATE,
        standardised=standard is not None,
        reach=_REACH,
        version=__version__,
    )


def _drawn(sight: Sight, standardised: bool) -> list[Group]:
    """Every group, with the hands side by side."""
    reaches = heat.reaches([sight.following, sight.leading, sight.both])
    drawn = []
    for group in dict.fromkeys(one.group for one in (*sight.leading, *sight.both)):
        columns = [
            Column(title, [one for one in rows if one.group == group])
            for title, rows in (("leading hand", sight.leading), ("other hand, mirrored", sight.following))
        ]
        if not columns[0].rows or group == "presence":
            columns = [Column("both", [one for one in sight.both if one.group == group])] if group != "presence" else []
        if columns:
            reach = _REACH if standardised else reaches[group]
            drawn.append(Group(group, UNITS[group], reach, heat.draw(columns, reach, group)))
    return drawn


def _groups(model: Recogniser) -> tuple[str, ...]:
    return model.encoders[0].architecture.groups


def _standard(model: Recogniser) -> Standard:
    encoder = model.encoders[0]
    return Standard(encoder.mean.numpy(), encoder.deviation.numpy())


def _unknown(reading: Reading | None, gloss: str) -> bool:
    """Whether the clip's gloss is one that the model does not know."""
    return reading is not None and bool(gloss) and reading.truth is None
