"""Who waits for what within the process."""

from __future__ import annotations

import asyncio

from coordinator.services.news import News, wait_for


async def test_listeners_hear_of_their_topics_and_no_other() -> None:
    news = News()
    with news.listen("a", "b") as first, news.listen("c") as second:
        news.publish("b")
        assert first.is_set()
        assert not second.is_set()


async def test_who_stopped_listening_is_forgotten() -> None:
    news = News()
    with news.listen("a", "b"):
        pass
    assert not news._waiting
    news.publish("a")


async def test_closing_wakes_everybody_now_and_from_now_on() -> None:
    news = News()
    with news.listen("a") as event:
        waiting = asyncio.create_task(wait_for(event, 60))
        await asyncio.sleep(0)
        news.close()
        assert await waiting
    with news.listen("z") as late:
        assert late.is_set()
    assert news.closing


async def test_waiting_ends_with_its_time() -> None:
    event = asyncio.Event()
    assert not await wait_for(event, 0.01)
    assert not await wait_for(event, -5)
