"""Sounds by name from folders: small ones encoded at once, others by a process of their own.

Encoding an hour of 44.1 kHz stereo takes minutes, and this process must send a packet every few
hundred microseconds. What was encoded is kept in a folder: a restarted server plays at once.
"""

import os
import re
import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from media_servers.embedded.players import Sound
from media_servers.embedded.sound import BadSound, encoded, frames
from rtp.g711 import PCMA, PCMU

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""A sound's name: never a path."""

SMALL_BYTES = 32_000
"""Two seconds at 8 kHz are encoded in about 2 ms; while calls are up, nothing longer is."""

SMALL_BYTES_AT_START = 1_000_000

ENCODING_MS = 600_000
"""Whatever takes longer to encode is not usable."""

_MAGIC = b"keepline g711 1\n"


class Sounds:
    """What lies in `folders`, the first one that has a name wins. `cache` holds encoded sounds."""

    def __init__(self, folders: tuple[Path, ...], cache: Path) -> None:
        self._folders = folders
        self._cache = cache
        self._known: dict[str, tuple[str, Sound]] = {}
        self._just_found: dict[str, Sound] = {}
        self._waiting: list[tuple[Path, str, Sound]] = []
        self._running: tuple[subprocess.Popen[bytes], str, Sound] | None = None
        self._started_ms = 0
        self.failed: list[tuple[str, str]] = []
        """(name, reason) of sounds that could not be used, to be logged."""

    def load(self) -> None:
        """Before calls: encode what is quickly done, so that the first listener need not wait."""
        paths = [path for folder in self._folders for path in sorted(folder.glob("*.wav"))]
        wanted = set()
        for path in paths:
            with suppress(OSError):
                key, size = _key(path)
                wanted.add(key)
                if size <= SMALL_BYTES_AT_START:
                    self.find(path.stem, small=SMALL_BYTES_AT_START)
        for path in self._cache.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def find(self, name: str, *, small: int = SMALL_BYTES) -> Sound | None:
        """The sound `name` or `name`.wav; None if there is no such file. It may be ready later.

        Whether the file has changed is looked at after the next `look_again`.
        """
        found = self._just_found.get(name)
        if found is None:
            found = self._find(name, small)
            if found is not None:
                self._just_found[name] = found
        return found

    def look_again(self) -> None:
        """To be called some times a second: who asks for a file next gets it as it is then."""
        self._just_found.clear()

    def _find(self, name: str, small: int) -> Sound | None:
        stem = name.removesuffix(".wav")
        known = self._known.get(stem)
        path = self._path(stem)
        try:
            key, size = _key(path) if path is not None else ("", 0)
        except OSError:
            path = None
        if path is None:
            return known[1] if known is not None else None  # who hears it may go on hearing it
        if known is not None and known[0] == key:
            return known[1]
        sound = Sound(stem)
        self._known[stem] = (key, sound)
        if not self._read(key, sound):
            if size <= small:
                self._encode(path, key, sound)
            else:
                self._waiting.append((path, key, sound))
        return sound

    def start(self, now_ms: int) -> int | None:
        """Start to encode the next waiting sound; a descriptor that becomes readable when done."""
        if self._running is not None or not self._waiting:
            return None
        path, key, sound = self._waiting.pop(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "media_servers.embedded.io.encode", path, self._cache / key],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._running = (process, key, sound)
        self._started_ms = now_ms
        assert process.stdout is not None
        return process.stdout.fileno()

    def hurry(self, now_ms: int) -> None:
        """To be called now and then: ends an encoding that takes too long."""
        if self._running is not None and now_ms - self._started_ms > ENCODING_MS:
            self._running[0].kill()

    def finish(self) -> None:
        """The encoding that ran is done: take its result."""
        assert self._running is not None
        process, key, sound = self._running
        self._running = None
        assert process.stdout is not None
        reason = process.stdout.read(1000).decode(errors="replace").strip()
        process.stdout.close()
        process.wait()
        if not self._read(key, sound):
            self._fail(sound, reason or f"the encoder ended with {process.returncode}")

    def close(self) -> None:
        """End an encoding that runs."""
        if self._running is not None:
            process, _, _ = self._running
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def _path(self, stem: str) -> Path | None:
        if not NAME.fullmatch(stem):
            return None
        paths = (folder / f"{stem}.wav" for folder in self._folders)
        return next((path for path in paths if path.is_file()), None)

    def _encode(self, path: Path, key: str, sound: Sound) -> None:
        try:
            encode(path, self._cache / key)
        except (BadSound, OSError) as error:
            self._fail(sound, str(error))
            return
        if not self._read(key, sound):
            self._fail(sound, "cannot be kept")

    def _read(self, key: str, sound: Sound) -> bool:
        try:
            data = (self._cache / key).read_bytes()
        except OSError:
            return False
        if not data.startswith(_MAGIC):
            return False
        body = data[len(_MAGIC) :]
        half = len(body) // 2
        sound.fill({PCMU: frames(body[:half], PCMU), PCMA: frames(body[half:], PCMA)})
        return True

    def _fail(self, sound: Sound, reason: str) -> None:
        sound.failed = True
        self.failed.append((sound.name, reason))


def _key(path: Path) -> tuple[str, int]:
    """What the file is known by as long as it is not changed, and its size. Raises OSError."""
    stat = path.stat()
    text = f"{path}:{stat.st_mtime_ns}:{stat.st_size}"
    return sha256(text.encode()).hexdigest()[:32], stat.st_size


def encode(source: Path, target: Path) -> None:
    """Encode a WAV file into the cache, all of it or nothing. Raises BadSound, OSError."""
    done = encoded(source.read_bytes())
    part = target.with_name(f"{target.name}.{os.getpid()}")
    part.write_bytes(_MAGIC + b"".join(done[PCMU]) + b"".join(done[PCMA]))
    part.replace(target)
