"""Counts the people in the picture, because Holistic tracks one person and does not tell which."""

from services.extractor.tracking.graph import create_graph
from services.extractor.tracking.tracks import are_many
from services.extractor.video.decode import Frame

# The detector that Holistic uses to find a person. It is run on one of this many frames, from the first frame on that
# every clip has. A call takes a quarter of the time that Holistic needs for a frame, so this costs 1 % of the time.
_EVERY_FRAMES = 25
_FIRST_FRAME = 4

_GRAPH = """
    input_stream: "IMAGE:image"
    output_stream: "DETECTIONS:people"
    node {
        calculator: "PoseDetectionCpu"
        input_stream: "IMAGE:image"
        output_stream: "DETECTIONS:people"
    }
"""


class PeopleCounter:
    """Tells whether a clip shows more than one person. `start` begins a clip.

    Raises:
        MediaPipeMissing: MediaPipe cannot be loaded.
    """

    def __init__(self) -> None:
        self._graph = create_graph(_GRAPH, ["people"])
        self.start()

    def start(self) -> None:
        """Forget the frames of the clip before."""
        self._frames = 0
        self._counts: list[int] = []

    def see(self, frame: Frame) -> None:
        """Take the next frame of the clip; a few frames are examined."""
        if self._frames % _EVERY_FRAMES == _FIRST_FRAME:
            self._counts.append(len(self._graph.process({"image": frame.rgb}).people or ()))
        self._frames += 1

    @property
    def many(self) -> bool:
        """Whether more than one person was seen, in enough of the examined frames."""
        return are_many(self._counts)
