"""Converts configurations and events of streams."""

from services.evaluator.serving.servable_model import ServableModel
from signet.errors import InvalidInput
from signet.landmarks import NothingSigned
from signet.streaming import FinalSign, NothingSignedSince, PartialSigns, RecognitionModel, StreamSettings
from signet.v1 import evaluator_pb2 as pb

DEFAULT_ALTERNATIVES, MAX_ALTERNATIVES = 5, 20
_DEFAULT_PARTIAL_SECONDS, _MIN_PARTIAL_SECONDS = 0.3, 0.1
_MIN_STATISTICS_SECONDS = 1.0

NOTHING_SIGNED = {
    None: pb.NOTHING_SIGNED_UNSPECIFIED,
    NothingSigned.TOO_SHORT: pb.NOTHING_SIGNED_TOO_SHORT,
    NothingSigned.NO_HAND_FOUND: pb.NOTHING_SIGNED_NO_HAND_FOUND,
    NothingSigned.NO_HAND_MOVES: pb.NOTHING_SIGNED_NO_HAND_MOVES,
}
_LEFT_HANDED = {pb.SIGNING_HAND_UNSPECIFIED: None, pb.SIGNING_HAND_LEFT: True, pb.SIGNING_HAND_RIGHT: False}


class StreamOptions:
    """The checked configuration of a stream.

    Raises:
        InvalidInput: a value cannot be used.
    """

    def __init__(self, config: pb.StreamConfig, model: ServableModel) -> None:
        most = min(MAX_ALTERNATIVES, len(model.vocabulary))
        if config.alternatives > MAX_ALTERNATIVES:
            raise InvalidInput(f"alternatives={config.alternatives}: at most {MAX_ALTERNATIVES} are given.")
        if config.HasField("threshold") and not 0 <= config.threshold <= 1:
            raise InvalidInput(f"threshold={config.threshold:g}: give a probability, 0 to 1.")
        for name, least in (("partial_seconds", _MIN_PARTIAL_SECONDS), ("statistics_seconds", _MIN_STATISTICS_SECONDS)):
            value = getattr(config, name)
            if value and value < least:
                raise InvalidInput(f"{name}={value:g}: give {least:g} or more, or 0 for the default.")
        self.left_handed = _LEFT_HANDED[config.hand]
        self.partial_seconds = config.partial_seconds or _DEFAULT_PARTIAL_SECONDS
        self.statistics_seconds = config.statistics_seconds or None
        self.drop_when_behind = config.drop_when_behind
        card = model.card
        published = None if card.vocabulary_score is None else card.rejection_threshold
        self.threshold = config.threshold if config.HasField("threshold") else published
        if card.vocabulary_score is None and self.threshold:
            raise InvalidInput(
                f"threshold={self.threshold:g}: the model {model.name} has no score by which signs could be rejected. "
                "Leave the threshold out, or publish a model of a newer version of Signet."
            )
        self.model = RecognitionModel(card.vocabulary, card.decoder, card.vocabulary_score, self.threshold)
        # The statistics of `signet.streaming` count time of the stream; those of the service count real time.
        self.settings = StreamSettings(top_k=min(config.alternatives or DEFAULT_ALTERNATIVES, most))

    def started(self, model: ServableModel) -> pb.StreamStarted:
        """The message that a stream is open."""
        return pb.StreamStarted(
            model_name=model.card.name,
            model_version=model.card.version,
            vocabulary_size=len(model.vocabulary),
            threshold=self.threshold,
        )


def to_sign(sign: FinalSign) -> pb.StreamSign:
    """The message of a final sign."""
    return pb.StreamSign(
        gloss=sign.gloss,
        probability=sign.probability,
        start_seconds=sign.start,
        end_seconds=sign.end,
        alternatives=[pb.Prediction(gloss=one.gloss, probability=one.probability) for one in sign.alternatives],
        rejected=sign.rejected,
        in_vocabulary=sign.vocabulary_score,
        number=sign.number,
    )


def to_partial(partial: PartialSigns) -> pb.StreamPartial:
    """The message of a partial event."""
    return pb.StreamPartial(hypotheses=[pb.StreamHypothesis(glosses=glosses) for glosses in partial.hypotheses])


def to_silence(silence: NothingSignedSince) -> pb.StreamSilence:
    """The message that nothing is signed."""
    return pb.StreamSilence(since_seconds=silence.seconds, reason=NOTHING_SIGNED[silence.why])
