"""Photos of strangers are unpacked in processes of their own, with little memory and time.

decoders = Decoders(Settings())
bitmap = decoders.made("cleaned", data)          # or Refused
jpeg = decoders.made("thumbnail", data, 360)

However a file is built, and whatever of Pillow it reaches, a process takes at most
`decode_seconds` of a core for it, and `decode_bytes` of memory in all. One that needs more is
ended by the system, the photo is refused, and the next photo begins another.
"""

import contextlib
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

from imagetext.serving.photos import cleaned, thumbnail
from imagetext.serving.refusals import Refused
from imagetext.serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); from imagetext.serving.decoding import work; work()"
)
#: What a process is told of ours: where Python finds its modules, and no secrets.
INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
#: Memory that was used is given back: malloc otherwise keeps what it will hardly need again.
THRIFT = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_ARENA_MAX": "1"}


class Decoders:
    """As many processes as `settings.decoders`, each begun when it is first needed."""

    def __init__(self, settings: Settings):
        self._settings = replace(settings, token=None)
        self._free: queue.SimpleQueue[subprocess.Popen | None] = queue.SimpleQueue()
        for _ in range(settings.decoders):
            self._free.put(None)
        self._busy: set[subprocess.Popen] = set()
        self._closed = False

    def made(self, what: str, data: bytes, side: int | None = None) -> bytes:
        """What `cleaned` or `thumbnail` make of a file; waits until a process is free."""
        process = self._free.get()
        try:
            if process is None:
                process = self._begun()
            self._busy.add(process)
            try:
                _write(process.stdin, {"what": what, "side": side}, data)
                told, made = _read(process.stdout)
            except (OSError, EOFError):
                lost, process = _ended(process), None
                raise _refused(lost) from None
        finally:
            self._busy.discard(process)
            self._free.put(process)
            if self._closed:
                self.close()
        if told:
            raise Refused(**told)
        return made

    def _begun(self) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(root=str(ROOT))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: os.environ[name] for name in INHERITED if name in os.environ} | THRIFT,
        )
        _write(process.stdin, asdict(self._settings), b"")
        return process

    def close(self) -> None:
        self._closed = True
        for process in tuple(self._busy):
            process.kill()  # whoever waits for it sees to the rest
        with contextlib.suppress(queue.Empty):
            while True:
                if (process := self._free.get_nowait()) is not None:
                    _ended(process)


def _ended(process: subprocess.Popen) -> int:
    """How it ended, or was ended here."""
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    process.kill()
    process.stdout.close()
    return process.wait()


def _refused(ended: int) -> Refused:
    """What to say of a photo over which a process was lost."""
    if ended == -signal.SIGPROF:
        told = "The photo takes too long to unpack. Please save it anew, or smaller."
        return Refused(413, "too-costly", told)
    return Refused(415, "damaged", "The photo is damaged or cut short.")


def _write(stream: BinaryIO, told: dict | None, data: bytes) -> None:
    """A line of JSON, which also says how much follows it."""
    stream.write(json.dumps([told, len(data)]).encode() + b"\n")
    stream.write(data)
    stream.flush()


def _read(stream: BinaryIO) -> tuple[dict | None, bytes]:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    told, length = json.loads(line)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return told, data


# ------------------------------------------------------------------------ inside of a process


def work() -> None:
    """Serve the process that began this one, for as long as it is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends us
    warnings.simplefilter("ignore")
    given, taken = sys.stdin.buffer, sys.stdout.buffer
    limits, _ = _read(given)
    settings = Settings(**limits)
    with contextlib.suppress(OSError, ValueError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (settings.decode_bytes, settings.decode_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(EOFError):
        while True:
            asked, data = _read(given)
            signal.setitimer(signal.ITIMER_PROF, settings.decode_seconds)
            told, made = _made(asked["what"], data, asked["side"], settings)
            signal.setitimer(signal.ITIMER_PROF, 0)
            del data
            _write(taken, told, made)


def _made(
    what: str, data: bytes, side: int | None, settings: Settings
) -> tuple[dict | None, bytes]:
    try:
        if what == "cleaned":
            return None, cleaned(data, settings)
        return None, thumbnail(data, side, settings)
    except Refused as refused:
        return {"status": refused.status, "code": refused.code, "message": refused.message}, b""
    except MemoryError:
        told = "The photo takes too much memory to unpack. Please send a smaller one."
        return {"status": 413, "code": "too-costly", "message": told}, b""
