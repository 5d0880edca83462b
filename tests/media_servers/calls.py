"""Calls to try a media server with, and the sounds that go in and come out."""

import math
import struct
import wave
from pathlib import Path

from media_servers import verbs
from media_servers.verbs import Session
from rtp import packet, tone
from tests.media_servers.drivers import Media
from tests.media_servers.phones import Phone

CALL = Session("call-1", "main", 1)


def talking(caller: Phone, agent: Phone) -> Session:
    """A caller and an agent who hear each other."""
    session = verbs.answer(CALL, "caller", caller.offer())
    session = verbs.offer(session, "agent")
    return verbs.connect(session, "caller", "agent", remote=agent.offer())


async def listening(media: Media, who: Phone) -> Phone:
    """A phone that hears music in a session of its own: its packets are a clock."""
    session = verbs.answer(Session("clock", "main", 1), "caller", who.offer())
    await media.dial(verbs.play(session, "caller", "music", loop=True, play=1), caller=who)
    await who.more(1)
    return who


def many_legs(session: Session, caller: Phone) -> Session:
    for n in range(verbs.MAX_LEGS):
        session = verbs.answer(session, f"leg-{n}", caller.offer())
    return session


def tone_sample(n: int, rate: int = 8000) -> int:
    """A tone of 1000 Hz."""
    return round(8000 * math.sin(2 * math.pi * 1000 * n / rate))


def write_wav(path: Path, rate: int, samples: list[int], channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


def read_wav(media: Media, path: Path) -> tuple[list[int], list[int]]:
    """Both sides of a recording, once the server, told to stop, has written all of it."""
    media.process.terminate()
    assert media.process.wait(5) == 0
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        data = file.readframes(file.getnframes())
    samples = struct.unpack(f"<{len(data) // 2}h", data)
    return list(samples[0::2]), list(samples[1::2])


def loudest(samples: list[int]) -> float | None:
    assert len(samples) > 20 * packet.FRAME_SAMPLES
    return tone.dominant(samples[-10 * packet.FRAME_SAMPLES :], (400.0, 1000.0))
