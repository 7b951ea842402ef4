"""Photos from clients are decoded in child processes with little memory and time.

    decoders = Decoders(ServerSettings())
    bitmap = decoders.decode("bitmap", data)         # or ApiError
    jpeg = decoders.decode("thumbnail", data, 360)

However a file is made, and whatever code of Pillow it reaches, a process spends at most
`decoder_seconds` of CPU time on it and `decoder_bytes` of memory in all. A process that needs more
is ended by the system, the photo is refused, and the next photo gets a new process.
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

from imagetext.serving.api_errors import ApiError
from imagetext.serving.photos import make_thumbnail, sanitize_photo
from imagetext.serving.settings import ServerSettings

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); from imagetext.serving.decoders import main; main()"
)
#: The environment that a process inherits: where Python finds its modules, and no secrets.
INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
#: Lets malloc return memory to the system, which it would otherwise keep.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_ARENA_MAX": "1"}


class Decoders:
    """A pool of `settings.decoders` processes, each started when it is first needed."""

    def __init__(self, settings: ServerSettings):
        self._settings = replace(settings, token=None)
        self._free: queue.SimpleQueue[subprocess.Popen | None] = queue.SimpleQueue()
        for _ in range(settings.decoders):
            self._free.put(None)
        self._busy: set[subprocess.Popen] = set()
        self._closed = False

    def decode(self, output: str, data: bytes, side: int | None = None) -> bytes:
        """Decode a photo as soon as a process is free.

        Args:
            output: "bitmap" for what the models get, or "thumbnail".
            data: The bytes of an image file.
            side: The longest side of a thumbnail.

        Returns:
            The bytes of a BMP or JPEG file.
        """
        process = self._free.get()
        try:
            if process is None:
                process = self._start()
            self._busy.add(process)
            try:
                _write(process.stdin, {"output": output, "side": side}, data)
                error, result = _read(process.stdout)
            except (OSError, EOFError):
                lost, process = _end(process), None
                raise _error_of(lost) from None
        finally:
            self._busy.discard(process)
            self._free.put(process)
            if self._closed:
                self.close()
        if error:
            raise ApiError(**error)
        return result

    def _start(self) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(root=str(ROOT))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: os.environ[name] for name in INHERITED if name in os.environ} | MALLOC,
        )
        _write(process.stdin, asdict(self._settings), b"")
        return process

    def close(self) -> None:
        """End all processes."""
        self._closed = True
        for process in tuple(self._busy):
            process.kill()  # the thread that waits for it cleans up
        with contextlib.suppress(queue.Empty):
            while True:
                if (process := self._free.get_nowait()) is not None:
                    _end(process)


def _end(process: subprocess.Popen) -> int:
    """End a process, if it has not ended, and return its exit status."""
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    process.kill()
    process.stdout.close()
    return process.wait()


def _error_of(status: int) -> ApiError:
    """The error for a photo whose process ended with this exit status."""
    if status == -signal.SIGPROF:
        message = "The photo takes too long to decode. Please save it again, or make it smaller."
        return ApiError(413, "too-costly", message)
    return ApiError(415, "damaged", "The photo is damaged or incomplete.")


def _write(stream: BinaryIO, header: dict | None, data: bytes) -> None:
    """Send a line of JSON, which includes the length of the data, and the data."""
    stream.write(json.dumps([header, len(data)]).encode() + b"\n")
    stream.write(data)
    stream.flush()


def _read(stream: BinaryIO) -> tuple[dict | None, bytes]:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header, length = json.loads(line)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return header, data


# ---------------------------------------------------------------------------- the child process


def main() -> None:
    """Decode photos for the parent process until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this
    warnings.simplefilter("ignore")
    requests, results = sys.stdin.buffer, sys.stdout.buffer
    limits, _ = _read(requests)
    settings = ServerSettings(**limits)
    with contextlib.suppress(OSError, ValueError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (settings.decoder_bytes, settings.decoder_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(EOFError):
        while True:
            request, data = _read(requests)
            signal.setitimer(signal.ITIMER_PROF, settings.decoder_seconds)
            error, result = _decode(request["output"], data, request["side"], settings)
            signal.setitimer(signal.ITIMER_PROF, 0)
            del data
            _write(results, error, result)


def _decode(
    output: str, data: bytes, side: int | None, settings: ServerSettings
) -> tuple[dict | None, bytes]:
    try:
        if output == "bitmap":
            return None, sanitize_photo(data, settings)
        return None, make_thumbnail(data, side, settings)
    except ApiError as error:
        return {"status": error.status, "code": error.code, "message": error.message}, b""
    except MemoryError:
        message = "The photo needs too much memory to decode. Please send a smaller one."
        return {"status": 413, "code": "too-costly", "message": message}, b""
