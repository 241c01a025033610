"""The throttle of a GPU whose temperature changes during the training."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import pytest
import torch

from services.trainer.runtime.gpu_throttle import GpuThrottle, make_gpu_throttle, never_pause, nvml_uuid
from services.trainer.training.callbacks import TrainingCallbacks
from signet.errors import Unavailable
from signet.rpc.gpu import Nvml
from tests.signet.nvml import Conversation, compile_stand_in, conversation

# Batches without end, between which the guard is asked; each line sent gets the present state.
_TRAIN = """
import logging, sys, threading, time
logging.basicConfig(level="INFO", stream=sys.stderr, format="%(name)s: %(message)s")
from services.trainer.runtime.gpu_throttle import GpuThrottle
from services.trainer.training.callbacks import TrainingCallbacks
from signet.rpc.gpu import Nvml

class Recorder(TrainingCallbacks):
    batches, paused, seconds = 0, False, 0.0
    def on_throttling(self, paused):
        self.paused = paused
    def on_throttled_seconds(self, seconds):
        self.seconds += seconds

def train():
    while True:
        guard()
        recorder.batches += 1
        time.sleep(0.001)

recorder, nvml = Recorder(), Nvml()
guard = GpuThrottle(lambda: nvml.temperature("GPU-aaaa"), 70.0, should_stop=lambda: False, callbacks=recorder)
threading.Thread(target=train, daemon=True).start()
for line in sys.stdin:
    print(recorder.batches, int(recorder.paused), recorder.seconds, end="\\n\\n", flush=True)
"""

# The guard looks once a second, and this machine may be busy.
_SOON = 10.0


class State(NamedTuple):
    batches: int
    paused: bool
    seconds: float


def state(talk: Conversation) -> State:
    batches, paused, seconds = talk.ask().split()
    return State(int(batches), paused == "1", float(seconds))


def wait_until(talk: Conversation, *, paused: bool) -> State:
    deadline = time.monotonic() + _SOON
    while (now := state(talk)).paused is not paused:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def test_training_pauses_above_the_limit_until_the_gpu_is_well_below_it(tmp_path: Path) -> None:
    celsius, failed = tmp_path / "celsius", tmp_path / "failed"
    celsius.write_text("60")
    driver = compile_stand_in(tmp_path)
    environment = {"STAND_IN_TEMPERATURE": str(celsius), "STAND_IN_FAILED": str(failed)}
    with conversation(_TRAIN, tmp_path / "log", driver, **environment) as talk:
        first = state(talk)
        time.sleep(1.5)
        cool = state(talk)
        assert cool.batches > first.batches
        assert (cool.paused, cool.seconds) == (False, 0)

        celsius.write_text("80")
        hot = wait_until(talk, paused=True)
        celsius.write_text("66")
        time.sleep(2.5)
        warm = state(talk)
        assert warm.paused, "not until it is 5 degrees below the limit"
        assert warm.batches == hot.batches
        assert 2 < warm.seconds < 2.5 + _SOON, "counted while it lasts"

        celsius.write_text("60")
        assert wait_until(talk, paused=False).batches >= hot.batches
        celsius.write_text("80")
        wait_until(talk, paused=True)
        assert sum("pauses until" in line for line in talk.log) == 1, "logged once, not at each pause"

        failed.touch()
        blind = wait_until(talk, paused=False)
        time.sleep(2.5)
        assert state(talk).batches > blind.batches, "a GPU that cannot be read is not waited for"
        assert sum("cannot be read" in line for line in talk.log) == 1
    (paused,) = (line for line in talk.log if "pauses until" in line)
    for part in ("80 °C", "65 °C", "70 °C", "--max-gpu-temperature"):
        assert part in paused


def test_nvml_is_asked_about_once_a_second_however_short_the_batches() -> None:
    asked = []

    def read() -> float:
        asked.append(time.monotonic())
        return 50.0

    between_batches = GpuThrottle(read, 70.0, should_stop=lambda: False, callbacks=TrainingCallbacks())
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5:
        between_batches()
    assert len(asked) == 2


def test_a_pause_ends_at_once_when_nobody_waits_for_the_run_any_more() -> None:
    stopped, recorded = Event(), Pauses()
    between_batches = GpuThrottle(lambda: 90.0, 70.0, should_stop=stopped.is_set, callbacks=recorded)
    thread = Thread(target=between_batches)
    thread.start()
    assert recorded.paused.wait(_SOON)
    stopped.set()
    thread.join(0.5)
    assert not thread.is_alive()
    assert recorded.ends == 1
    time.sleep(1.1)
    between_batches()
    assert recorded.ends == 1, "and no other begins"


@pytest.mark.parametrize(("celsius", "pauses"), [(69.9, 0), (70.0, 0), (70.1, 1)])
def test_a_pause_begins_above_the_limit_and_not_at_it(celsius: float, pauses: int) -> None:
    readings, recorded = iter([celsius]), Pauses()
    GpuThrottle(lambda: next(readings, 20.0), 70.0, should_stop=lambda: False, callbacks=recorded)()
    assert (recorded.paused.is_set(), recorded.ends) == (bool(pauses), pauses)


def test_a_pause_ends_at_five_degrees_below_the_limit_and_no_earlier() -> None:
    readings, recorded = [80.0, 65.1, 65.0, 20.0], Pauses()
    GpuThrottle(lambda: readings.pop(0), 70.0, should_stop=lambda: False, callbacks=recorded)()
    assert readings == [20.0]
    assert recorded.ends == 1


def test_no_pause_begins_once_nobody_waits_for_the_run() -> None:
    recorded = Pauses()
    GpuThrottle(lambda: 90.0, 70.0, should_stop=lambda: True, callbacks=recorded)()
    assert not recorded.paused.is_set()


class Pauses(TrainingCallbacks):
    """Records the pauses."""

    def __init__(self) -> None:
        self.paused = Event()
        self.ends = 0

    def on_throttling(self, paused: bool) -> None:
        if paused:
            self.paused.set()
        else:
            self.ends += 1


def test_a_gpu_that_can_never_be_read_is_said_so_once(caplog: pytest.LogCaptureFixture) -> None:
    def read() -> float:
        raise Unavailable("GPU-x: NVML finds no GPU.")

    between_batches = GpuThrottle(read, 70.0, should_stop=lambda: False, callbacks=TrainingCallbacks())
    with caplog.at_level(logging.WARNING):
        between_batches()
        time.sleep(1.1)
        between_batches()
    (record,) = caplog.records
    assert "NVML finds no GPU" in record.message


@pytest.mark.parametrize(("device", "limit"), [("cpu", 70.0), ("cuda", 0.0)])
def test_there_is_no_guard_on_a_cpu_or_without_a_limit(device: str, limit: float) -> None:
    made: Callable[[], None] = make_gpu_throttle(torch.device(device), limit, None, lambda: False, TrainingCallbacks())
    assert made is never_pause


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_cuda_device_is_found_in_nvml_by_its_uuid() -> None:
    nvml = Nvml()
    for number in range(torch.cuda.device_count()):
        uuid = nvml_uuid(torch.device("cuda", number))
        assert uuid in {reading.uuid for reading in nvml.read()}
        assert 10 < nvml.temperature(uuid) < 110
