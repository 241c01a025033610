"""Which sign does each clip show? `python examples/python/sync.py localhost:50053 clip.mp4 more.mp4`."""

import sys

from signet.client import SignetClient
from signet.errors import SignetError


def main(address: str, clips: list[str]) -> int:
    """Print the best gloss of each clip. Returns the number of clips that were refused."""
    refused = 0
    with SignetClient(address) as client:
        for clip, answer in zip(clips, client.recognise_many(clips), strict=True):
            if isinstance(answer, SignetError):
                print(f"{clip}: refused (request {answer.request_id}): {answer}")
                refused += 1
            elif answer.best is None:
                print(f"{clip}: nothing signed: {answer.nothing_signed}")
            else:
                print(f"{clip}: {answer.best.gloss} {answer.best.probability:.3f}")
    return refused


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
