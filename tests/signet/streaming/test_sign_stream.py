"""Recognition of continuous signing, with a made signer and a made model."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from signet.errors import InvalidInput, InvalidSetting
from signet.landmarks import JOINTS, NothingSigned
from signet.streaming import (
    FinalSign,
    NothingSignedSince,
    PartialSigns,
    SignStream,
    StreamEvent,
    StreamSettings,
    StreamStatistics,
)
from tests.signet.streaming.signing import MODEL, compute, made_model, recognise, signing

SIGNED = ((1.0, 3), (3.0, 1), (4.6, 2))


def finals(events: list[StreamEvent]) -> list[FinalSign]:
    return [event for event in events if isinstance(event, FinalSign)]


def test_signs_are_found_with_their_movement() -> None:
    found = finals(recognise(signing(*SIGNED, seconds=7.0)))
    assert [sign.gloss for sign in found] == ["far", "near", "middle"]
    for sign, (begin, _) in zip(found, SIGNED, strict=True):
        assert sign.start == pytest.approx(begin, abs=0.15)
        assert sign.end == pytest.approx(begin + 1, abs=0.25)
        assert sign.alternatives[0].gloss == sign.gloss
        assert sign.probability == pytest.approx(sign.alternatives[0].probability)
        assert sign.probability > 0.9
        assert not sign.rejected
    assert [sign.number for sign in found] == [0, 1, 2]


def test_times_are_those_of_the_frames() -> None:
    here = finals(recognise(signing(*SIGNED, seconds=7.0)))
    there = finals(recognise(signing(*SIGNED, seconds=7.0, origin=86_400.0)))
    assert [sign.gloss for sign in here] == [sign.gloss for sign in there]
    for one, other in zip(here, there, strict=True):
        assert other.start - one.start == pytest.approx(86_400.0, abs=1e-3)


@pytest.mark.parametrize("together", [2, 10, 50, 1000])
def test_it_does_not_matter_when_windows_are_computed(together: int) -> None:
    frames = signing(*SIGNED, seconds=7.0)
    assert recognise(frames, together=together) == recognise(frames)


@pytest.mark.parametrize("fps", [15.0, 25.0, 60.0])
def test_the_frame_rate_does_not_matter(fps: float) -> None:
    found = finals(recognise(signing(*SIGNED, seconds=7.0, fps=fps)))
    assert [sign.gloss for sign in found] == ["far", "near", "middle"]


def test_a_sign_is_announced_before_it_is_final_and_final_soon_after_its_end() -> None:
    stream = SignStream(MODEL)
    announced = final = None
    for seconds, joints in signing((1.0, 3), seconds=4.0):
        stream.add_frame(seconds, joints)
        compute(stream)
        for event in stream.take_events():
            if isinstance(event, PartialSigns) and event.hypotheses[0] == ("far",) and announced is None:
                announced = seconds
            if isinstance(event, FinalSign):
                final = seconds
    assert announced is not None
    assert final is not None
    assert announced < final < 2.0 + 1.0


def test_rest_is_reported_once_until_something_is_signed() -> None:
    events = recognise(signing((8.0, 1), seconds=16.0))
    quiet = [event for event in events if isinstance(event, NothingSignedSince)]
    assert [event.why for event in quiet] == [NothingSigned.NO_HAND_FOUND] * 2
    (sign,) = finals(events)
    assert quiet[0].seconds < 1 < sign.end < quiet[1].seconds


def test_rest_needs_no_model() -> None:
    stream = SignStream(MODEL)
    for seconds, joints in signing(seconds=30.0):
        stream.add_frame(seconds, joints)
        assert not compute(stream)


def test_a_pause_makes_open_signs_final() -> None:
    stream = SignStream(MODEL)
    for seconds, joints in signing((0.5, 2), seconds=1.4):
        stream.add_frame(seconds, joints)
    compute(stream)
    assert not finals(stream.take_events())
    stream.flush()
    compute(stream)
    assert [sign.gloss for sign in finals(stream.take_events())] == ["middle"]
    for seconds, joints in signing((1.0, 3), seconds=4.0, origin=500.0):
        stream.add_frame(seconds, joints)
        compute(stream)
    stream.finish()
    compute(stream)
    events = stream.take_events()
    (sign,) = finals(events)
    assert sign.gloss == "far"
    assert sign.start > 500
    assert isinstance(events[-1], StreamStatistics)
    assert events[-1].sections == 2
    assert events[-1].signs == 2


def test_an_empty_stream_ends_with_its_statistics() -> None:
    (event,) = recognise([])
    assert isinstance(event, StreamStatistics)
    assert event.frames == 0


def test_a_sign_below_the_threshold_is_rejected() -> None:
    frames = signing(*SIGNED, seconds=7.0)
    model = replace(MODEL, rejection_threshold=1.0)
    events = recognise(frames, model=model)
    assert [sign.rejected for sign in finals(events)] == [True] * 3
    assert isinstance(events[-1], StreamStatistics)
    assert (events[-1].signs, events[-1].rejected) == (0, 3)


def test_the_dominant_hand_is_that_which_the_client_names() -> None:
    for left_handed, sign in ((True, 1), (False, -1)):
        stream = SignStream(MODEL, left_handed=left_handed)
        for seconds, joints in signing((0.2, 1), seconds=2.0):
            stream.add_frame(seconds, joints)
        window = stream.next_window()
        assert window is not None
        assert window.dominance * sign > 2


def test_the_dominant_hand_is_found_out_and_stays() -> None:
    stream = SignStream(MODEL)
    biases = []
    for seconds, joints in signing((0.2, 1), (1.2, 2), (2.2, 3), (3.2, 1), seconds=5.0):
        stream.add_frame(seconds, joints)
        biases += [window.dominance for window in compute(stream)]
    assert biases[0] == 0
    assert biases[-1] < -2


@pytest.mark.parametrize("seed", range(3))
def test_hostile_frames_leave_the_stream_working(seed: int) -> None:
    random = np.random.default_rng(seed)
    stream = SignStream(MODEL)
    hostile = [float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 1e-310, 3e9]
    for seconds, joints in signing(*SIGNED, seconds=7.0):
        stream.add_frame(seconds, joints)
        if random.random() < 0.3:
            stream.add_frame(float(random.choice(hostile)), random.choice([np.nan, 1e300, -np.inf], (JOINTS, 3)))
        compute(stream)
    stream.finish()
    compute(stream)
    events = stream.take_events()
    assert [sign.gloss for sign in finals(events)] == ["far", "near", "middle"]
    assert isinstance(events[-1], StreamStatistics)
    assert events[-1].dropped > 20


def test_the_state_does_not_grow_in_an_hour() -> None:
    stream = SignStream(MODEL)
    sizes = []
    pattern = signing(*SIGNED, seconds=7.0, fps=12.0)
    for minute in range(60):
        # Each part is seven seconds long. The rest of each minute has one frame a second, which shows that nothing is
        # signed.
        for second in range(7, 60):
            stream.add_frame(60.0 * minute + second, pattern[0][1])
        for seconds, joints in pattern:
            stream.add_frame(60.0 * (minute + 1) + seconds, joints)
        compute(stream)
        stream.take_events()
        sizes.append(len(pickle.dumps(stream)))
    assert max(sizes[30:]) <= max(sizes[1:30]) * 1.05


def test_an_answer_of_another_shape_or_to_another_window_is_refused() -> None:
    stream = SignStream(MODEL)
    for seconds, joints in signing((0.2, 1), seconds=2.0):
        stream.add_frame(seconds, joints)
    window = stream.next_window()
    assert window is not None
    assert stream.next_window() is None
    with pytest.raises(InvalidInput, match=r"instead of \[\d+, 4\]"):
        stream.add_log_probs(window, np.zeros((3, 3)))
    with pytest.raises(InvalidInput, match="finite"):
        stream.add_log_probs(window, np.full((len(window.frames), 4), np.nan))
    stream.add_log_probs(window, made_model(window.frames))
    with pytest.raises(InvalidInput, match="once"):
        stream.add_log_probs(window, made_model(window.frames))


def test_a_stream_whose_windows_nobody_computes_stops_growing() -> None:
    stream = SignStream(MODEL)
    joints = signing((0.0, 1), seconds=0.1)[0][1]
    with pytest.raises(InvalidInput, match="wait for the model"):
        for number in range(100_000):
            stream.add_frame(number * 0.1, joints)


def test_settings_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="too short"):
        StreamSettings(window=5)
    with pytest.raises(InvalidSetting, match="at least 1"):
        StreamSettings(hop=0)
