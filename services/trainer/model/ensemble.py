"""Several members as one model: with the encoders of all of them.

An ensemble takes what a single model takes and answers what a single model answers: decoding, serving and the blank
penalty need not know.
"""

from collections.abc import Sequence

from services.trainer.model.recogniser import Recogniser


def together(members: Sequence[Recogniser]) -> Recogniser:
    """One model of these, trained on the same vocabulary: the only one itself, or one with all their encoders."""
    return members[0] if len(members) == 1 else Recogniser([one for member in members for one in member.encoders])
