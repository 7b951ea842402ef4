"""Thousands of mutated requests: no crash, no 5xx, steady memory.

pytest -m slow tests/serving/test_fuzz.py        # all of them; without: a few hundred
"""

import asyncio
import gc
import json
import random
from collections import Counter

import httpx2 as httpx
import pytest

from imagetext.pipelines.sample import all_scenes, draw
from imagetext.serving.app import create_app
from imagetext.serving.settings import ServerSettings

from .stand_ins import StandInCaptions, StandInMatches, StandInSearch, photo

SEED = 2024
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
#: Bytes that often break parsers.
TOKENS = (
    b"\x00" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\r\n\r\n",
    b"--x--",
    b"../../etc/passwd",
    b"\xed\xa0\x80",
    b"%s%n",
    b'"',
    b"{[",
)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change, cut, double, insert or overwrite a few bytes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        at, length = rng.randrange(len(data)), rng.randrange(1, 64)
        what = rng.randrange(7)
        if what == 0:
            data[at] = rng.randrange(256)
        elif what == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 2:
            del data[at : at + length]
        elif what == 3:
            data[at:at] = data[at : at + length]
        elif what == 4:
            data[at:at] = rng.choice(TOKENS)
        elif what == 5:
            token = rng.choice(TOKENS)
            data[at : at + len(token)] = token
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def scene(kind: str, rng: random.Random) -> bytes:
    import io

    written = io.BytesIO()
    draw(rng.choice(all_scenes()), rng).save(written, kind)
    return written.getvalue()


def form(parts: dict[str, bytes]) -> bytes:
    body = b""
    for name, data in parts.items():
        file = b'; filename="a.jpg"\r\nContent-Type: image/jpeg' if name == "photo" else b""
        head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + file
        body += b"--x\r\n" + head + b"\r\n\r\n" + data + b"\r\n"
    return body + b"--x--\r\n"


def requests(count: int, seed: int):
    """(number, path, content type, body); one in ten is well-formed."""
    rng = random.Random(seed)
    photos = [scene(kind, rng) for kind in FORMATS for _ in range(3)]
    photos += [photo(kind, (120, 90)) for kind in FORMATS]
    for number in range(count):
        path = rng.choice(("/v1/caption", "/v1/match", "/v1/search"))
        fields = {"text": b"a red shape"} if path != "/v1/caption" else {}
        if rng.random() < 0.3:
            fields["top"] = rng.choice((b"1", b"5", b"-1", b"1e9", b"\xd9\xa3", b"99999999999"))
        kind = "multipart/form-data; boundary=x"
        choice = rng.randrange(10)
        if choice < 6:  # a damaged photo in a valid form
            data = rng.choice(photos)
            body = form({**fields, "photo": data if choice == 0 else mutate(data, rng)})
        elif choice < 8:  # a damaged form
            body = mutate(form({**fields, "photo": rng.choice(photos)}), rng)
            if rng.random() < 0.2:
                kind = mutate(kind.encode(), rng).decode("latin-1")
                kind = "".join(c if c.isprintable() and c.isascii() else "?" for c in kind)
        else:
            kind = "application/json"
            plain = {"text": "a dog", "top": 3, "without": "snow", "photo_id": "0123456789abcdef"}
            for name in rng.sample(sorted(plain), rng.randrange(3)):
                plain[name] = rng.choice((None, [], {}, -1, 1e308, True, "\ud800", "x" * 600, "é"))
            body = json.dumps(plain).encode()
            body = mutate(body, rng) if rng.random() < 0.8 else body
        yield number, path, kind, body


async def answers(app, count: int, seed: int, concurrent: int = 16) -> Counter:
    """Statuses of all requests, `concurrent` at a time."""
    statuses, transport = Counter(), httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        gate = asyncio.Semaphore(concurrent)

        async def send(number, path, kind, body):
            async with gate:
                answer = await client.post(path, content=body, headers={"content-type": kind})
            assert answer.status_code < 500, (number, seed, path, answer.text)
            assert answer.headers["content-type"] == "application/json"
            if answer.status_code >= 400:
                assert answer.json()["error"]["message"]
            statuses[answer.status_code] += 1

        async with asyncio.TaskGroup() as tasks:
            for each in requests(count, seed):
                tasks.create_task(send(*each))
    return statuses


def resident() -> int:
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


def run(count: int, rounds: int = 1) -> tuple[Counter, list[int]]:
    """Statuses of all rounds, and the memory after each."""
    app = create_app(
        StandInCaptions(), StandInMatches(), StandInSearch(), ServerSettings(max_queue=4096)
    )
    statuses, memory = Counter(), []

    async def send_all():
        async with app.router.lifespan_context(app):
            for number in range(rounds):
                statuses.update(await answers(app, count, SEED + number))
                gc.collect()
                memory.append(resident())
            assert app.state.dispatcher.memory.used == 0
            assert all(len(batcher) == 0 for batcher in app.state.dispatcher.batchers.values())

    asyncio.run(send_all())
    return statuses, memory


def test_some_mutated_requests():
    statuses, _ = run(400)
    assert sum(statuses.values()) == 400
    # The test means little if all requests are refused early, or none.
    assert statuses[200] >= 40 and statuses[415] >= 40 and statuses[422] >= 10
    assert statuses[400] >= 10


@pytest.mark.slow
def test_memory_stays_constant_over_thousands_of_mutated_requests():
    statuses, memory = run(1000, rounds=8)
    print(f"\n{dict(statuses)}; MB after each thousand: {[each >> 20 for each in memory]}")
    assert sum(statuses.values()) == 8000
    assert memory[-1] - memory[2] < 24 * 2**20
