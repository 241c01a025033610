"""What only the client for asyncio does."""

import asyncio
from typing import Any

import pytest

from signet.client import AsyncSignetClient


def test_a_cancelled_call_ends_the_work_of_the_server(scripted: Any) -> None:
    scripted.seconds = 0.5

    async def main() -> None:
        async with AsyncSignetClient(scripted.address) as client:
            call = asyncio.create_task(client.recognise(b"book"))
            while not scripted.calls:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(scripted.left.wait, 5)

    asyncio.run(main())


def test_clips_that_are_no_longer_wanted_are_not_sent(scripted: Any) -> None:
    scripted.seconds = 0.1

    async def main() -> None:
        async with AsyncSignetClient(scripted.address) as client:
            answers = client.recognise_many([b"book"] * 100, concurrency=2)
            await anext(answers)
            await answers.aclose()  # type: ignore[attr-defined]
            await asyncio.sleep(0.3)

    asyncio.run(main())
    assert len(scripted.calls) <= 5


def test_a_client_can_be_made_before_there_is_an_event_loop(scripted: Any) -> None:
    client = AsyncSignetClient(scripted.address)

    async def main() -> str:
        answer = await client.recognise(b"book")
        await client.aclose()
        assert answer.best is not None
        return answer.best.gloss

    assert asyncio.run(main()) == "book"


def test_a_cancelled_extraction_ends_the_work_of_the_server(scripted: Any) -> None:
    scripted.seconds = 0.5

    async def main() -> None:
        async with AsyncSignetClient(scripted.address, extractor=scripted.address) as client:
            parts = client.extract(b"video")

            async def wait() -> None:
                await anext(parts)

            waiting = asyncio.create_task(wait())
            while not scripted.calls:
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await asyncio.to_thread(scripted.left.wait, 5)

    asyncio.run(main())
