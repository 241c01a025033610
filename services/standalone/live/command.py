"""`signet live`: signs appear in the terminal as they are made."""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from services.standalone.console import count_signs, format_clock
from services.standalone.live.server_stream import ServerStream
from services.standalone.live.source import LiveSource
from services.standalone.models import ModelChoice, load_chosen_model
from services.standalone.stream_recognition import ModelStream
from signet.streaming import FinalSign, NothingSignedSince, PartialSigns, StreamEvent
from signet.terminal.output import Console, Group, Live, RenderableType, bar, open_console, plain_text, say, say_error

# Where events come from: a model in this process, or a server.
Stream = ModelStream | ServerStream

# Signs that stay on the screen.
_SHOWN = 12
# The screen is drawn so often.
_DRAW_HERTZ = 8
# After such a pause of the frames, open signs become final.
_PAUSE_SECONDS = 2.0
_WAIT_SECONDS = 0.1
# The rate of frames is measured over so many seconds.
_RATE_SECONDS = 2.0


def run_live(source: Path | int, open_stream: Callable[[], Stream]) -> None:
    """Recognise signing as it happens, until the video ends, or Ctrl-C.

    Args:
        source: a video, or the number of a camera.
        open_stream: called while the process of the source starts.

    Raises:
        ClipError: the camera or the video cannot be read.
        SignetError: the errors of `open_stream`, and of the server.
    """
    console = open_console()
    with LiveSource(source if isinstance(source, int) else str(source)) as frames:
        stream = open_stream()
        screen = LiveScreen(console, stream, frames, stream.model)
        try:
            with screen:
                _follow(frames, stream, screen)
        except KeyboardInterrupt:
            # Ctrl-C is how a camera is ended.
            screen.take(stream.finish())
        screen.print_summary()


def open_model_stream(choice: ModelChoice, threshold: float | None) -> ModelStream:
    """A stream with a model in this process.

    Args:
        choice: the model.
        threshold: signs with a lower score are not shown; None takes that of the model.

    Raises:
        SignetError: the errors of `load_chosen_model`.
    """
    chosen = load_chosen_model(choice)
    if chosen.note:
        say_error(f"note: {chosen.note}")
    return ModelStream(chosen.model, threshold)


def _follow(frames: LiveSource, stream: Stream, screen: "LiveScreen") -> None:
    last, paused = time.monotonic(), False
    while not frames.ended:
        frame = frames.next_frame(_WAIT_SECONDS)
        now = time.monotonic()
        if frame is not None:
            last, paused = now, False
            screen.take(stream.add_frame(frame.seconds, frame.joints))
        elif now - last > _PAUSE_SECONDS and not paused:
            paused = True
            screen.take(stream.flush())
        screen.draw(now)
    screen.take(stream.finish())


class LiveScreen:
    """What is shown: the newest signs, what may be signed now, and the rates. In a pipe, one line for each sign."""

    def __init__(self, console: Console, stream: Stream, frames: LiveSource, model: str) -> None:
        self._console = console
        self._stream = stream
        self._frames = frames
        self._model = model
        self._signs: deque[FinalSign] = deque(maxlen=_SHOWN)
        self._found = self._rejected = 0
        self._now = "starting ..."
        self._began = time.monotonic()
        self._drawn = 0.0
        self._rates: deque[tuple[float, int]] = deque()
        self._live = Live(
            console=console, auto_refresh=False, transient=True, screen=False, get_renderable=self._render
        )

    def __enter__(self) -> "LiveScreen":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def take(self, events: list[StreamEvent]) -> None:
        """Show what the stream has found."""
        for event in events:
            if isinstance(event, FinalSign):
                self._take_sign(event)
            elif isinstance(event, PartialSigns):
                self._now = " ".join(event.hypotheses[0]) if event.hypotheses and event.hypotheses[0] else ""
            elif isinstance(event, NothingSignedSince):
                self._now = ""

    def draw(self, now: float) -> None:
        """Draw the screen, if it is time."""
        if self._live.is_started and now - self._drawn >= 1 / _DRAW_HERTZ:
            self._drawn = now
            self._live.refresh()

    def print_summary(self) -> None:
        """Print how many signs and frames there were."""
        counts = self._frames.counts
        if self._console.is_terminal:
            for sign in self._signs:
                say(self._console, _line(sign))
        signs = f"{count_signs(self._found)}; {self._rejected} more are not shown, because they are not sure"
        frames = f"{counts.read} frames came, {counts.tracked} were tracked, {counts.dropped} dropped"
        say(self._console, f"{signs}; {frames}; {self._model}", "dim")

    def _take_sign(self, sign: FinalSign) -> None:
        if not self._stream.is_shown(sign):
            self._rejected += 1
            return
        self._found += 1
        self._signs.append(sign)
        if not self._console.is_terminal:
            say(self._console, _line(sign))

    def _render(self) -> RenderableType:
        counts = self._frames.counts
        lines = [plain_text(self._console, _line(sign), "bold") for sign in self._signs]
        lines.append(plain_text(self._console, f"now: {self._now}" if self._now else "now: -", "cyan"))
        status = (
            f"{format_clock(time.monotonic() - self._began)}  {self._rate():.0f} frames/s, {counts.dropped} dropped, "
            f"{count_signs(self._found)}, {self._rejected} unsure  {self._model}  Ctrl-C ends"
        )
        return Group(*lines, plain_text(self._console, status, "dim"))

    def _rate(self) -> float:
        """Frames of the source a second, of late."""
        now = time.monotonic()
        self._rates.append((now, self._frames.counts.read))
        while now - self._rates[0][0] > _RATE_SECONDS:
            self._rates.popleft()
        (began, first), (_, last) = self._rates[0], self._rates[-1]
        return (last - first) / (now - began) if now > began else 0.0


def _line(sign: FinalSign) -> str:
    others = [other for other in sign.alternatives if other.gloss != sign.gloss][:1]
    second = f"  or {others[0].gloss} {others[0].probability:.2f}" if others and others[0].probability >= 0.01 else ""
    times = f"{format_clock(sign.start):>8} to {format_clock(sign.end):>8}"
    return f"{times}  {sign.gloss}  {sign.probability:.2f} {bar(sign.probability)}{second}"
