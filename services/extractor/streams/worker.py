"""What runs in the process of a stream: it decodes and tracks one picture after the other.

Messages are plain bytes, never pickles: a picture can take the process over.
"""

from multiprocessing.connection import Connection

from services.extractor.jobs.worker import set_up_process
from services.extractor.streams.images import decode_image
from services.extractor.tracking.stream_tracker import StreamTracker
from signet.errors import ClipError
from signet.landmarks import JOINTS

# The first byte of a message to the process: begin another stream, or the bytes of a picture follow.
RESTART, PICTURE = b"r", b"p"
# The first byte of its answer: it is ready, landmarks follow, or a reason and a message follow.
READY, LANDMARKS, REFUSED = b"y", b"l", b"e"
# The longest answer: a refusal with its message.
MAX_ANSWER_BYTES = 4096
LANDMARK_BYTES = JOINTS * 3 * 2
_MAX_MESSAGE_CHARACTERS = 1000


def run_stream_worker(requests: Connection, stderr: Connection, limits_memory: bool) -> None:
    """Answer requests until the other end is closed."""
    set_up_process(stderr, limits_memory)
    tracker = StreamTracker()
    requests.send_bytes(READY)
    while True:
        try:
            message = requests.recv_bytes()
        except EOFError:
            return
        if message[:1] == RESTART:
            tracker.restart()
            requests.send_bytes(READY)
        else:
            requests.send_bytes(_answer(tracker, message[1:]))


def _answer(tracker: StreamTracker, data: bytes) -> bytes:
    try:
        return LANDMARKS + tracker.track(decode_image(data)).tobytes()
    except ClipError as error:
        return REFUSED + f"{error.reason}\n{str(error)[:_MAX_MESSAGE_CHARACTERS]}".encode()
    except MemoryError:
        return REFUSED + b"too_large\nthe picture needs more memory than a worker may use. Make it smaller."
