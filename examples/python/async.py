"""Which sign does each clip show, with asyncio? `python examples/python/async.py localhost:50053 clip.mp4 more.mp4`."""

import asyncio
import sys

from signet.client import AsyncSignetClient
from signet.errors import SignetError


async def main(address: str, clips: list[str]) -> None:
    """Print the best gloss of each clip, as soon as it is known."""
    async with AsyncSignetClient(address, timeout=60) as client:

        async def recognise(clip: str) -> None:
            try:
                answer = await client.recognise(clip, top_k=1)
            except SignetError as error:
                print(f"{clip}: refused (request {error.request_id}): {error}")
            else:
                print(f"{clip}: {answer.best.gloss if answer.best else answer.nothing_signed}")

        async with asyncio.TaskGroup() as group:
            for clip in clips:
                group.create_task(recognise(clip))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
