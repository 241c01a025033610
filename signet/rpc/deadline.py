"""The deadline of a call: how much of it the server may take."""

# An error must reach the caller before the caller's own clock ends the call: only the server knows what was reached.
_ANSWER_SECONDS = 0.5
_ANSWER_SHARE = 0.1


def seconds_for_work(remaining: float | None) -> float | None:
    """The part of a call's remaining seconds that its work may take; None for no limit. The rest is for the answer."""
    return _leave(remaining, 1.0)


def seconds_for_call(remaining: float | None) -> float | None:
    """The seconds after which a call is ended that did not end after `seconds_for_work`; None for no limit."""
    return _leave(remaining, 0.5)


def _leave(remaining: float | None, share: float) -> float | None:
    if remaining is None:
        return None
    return max(0.0, remaining - share * min(_ANSWER_SECONDS, _ANSWER_SHARE * remaining))
