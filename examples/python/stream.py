"""Signs as they are signed: `python examples/python/stream.py localhost:50053 clip.safetensors more.safetensors`.

The landmarks of clips stand for a camera here: one clip after the other, in real time. `signet extract` and
`SignetClient.extract` make such files. For a real camera, give `ImageFrame(seconds, jpeg)` for each picture.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from signet import landmarks
from signet.client import FinalSign, LandmarkFrame, PartialSigns, SignetClient


def play(paths: list[str]) -> Iterator[LandmarkFrame]:
    """The frames of clips, each at its time."""
    began = time.monotonic()
    end = 0.0
    for path in paths:
        clip = landmarks.load(Path(path).read_bytes())
        begin = end
        for seconds, joints in zip(clip.timestamps.tolist(), clip.landmarks, strict=True):
            end = begin + seconds + 1 / clip.record.fps
            time.sleep(max(0.0, began + begin + seconds - time.monotonic()))
            yield LandmarkFrame(begin + seconds, joints)


def main(address: str, paths: list[str]) -> None:
    """Print what is signed."""
    with SignetClient(address) as client:
        for event in client.recognise_stream(play(paths)):
            if isinstance(event, PartialSigns):
                print("...", *event.hypotheses[0])
            elif isinstance(event, FinalSign) and not event.rejected:
                print(f"{event.start:.1f} to {event.end:.1f} s: {event.gloss} {event.probability:.3f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
