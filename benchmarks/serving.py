"""How many requests a second the web app answers, for one client and for many at once.

    python benchmarks/serving.py --caption runs/best-1 --photos flickr8k/images
    python benchmarks/serving.py --match runs/itm-best-1 --clients 1,16,64
    python benchmarks/serving.py --index photos.index --text "a dog in snow"
    python benchmarks/serving.py --stand-in         # the server alone, around a model that sleeps

One model at a time: captioning, matching, or searching (by --text, or by photos without it).
The server runs in a process of its own; the clients are connections of this one, each of which
sends its next photo as soon as it has the answer to the last. Rounds of one client and of many
take turns; what is compared is requests a second, medians over the rounds. The stand-in takes a
fixed time for a forward pass, whatever its size, plus a little for each photo: what it gains by
many clients is what the server leaves of an ideal model's gain, and says nothing of any real one.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = """
import sys, time
import uvicorn
from imagetext.serving.answers import Caption
from imagetext.serving.app import create_app

class StandIn:
    def captions_of_bytes(self, photos, beams, top, maps):
        time.sleep({pass_ms} / 1000 + {photo_ms} / 1000 * len(photos))
        return [[Caption("a dog", -1.0, -0.5)] * top for _ in photos]

uvicorn.run(create_app(StandIn()), port=int(sys.argv[1]), log_level="warning")
"""


def form(fields: dict[str, bytes]) -> bytes:
    body = b""
    for name, data in fields.items():
        file = b'; filename="photo"' if name == "photo" else b""
        head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + file
        body += b"--x\r\n" + head + b"\r\n\r\n" + data + b"\r\n"
    return body + b"--x--\r\n"


def requests(options) -> list[bytes]:
    """What the clients send, one after another."""
    if options.photos:
        files = sorted(Path(options.photos).glob("*.jpg"))[:64]
        photos = [file.read_bytes() for file in files]
    else:
        import io
        import random

        from imagetext.pipelines.sample import all_scenes, draw

        rng, photos = random.Random(0), []
        for scene in rng.sample(all_scenes(), 64):
            written = io.BytesIO()
            draw(scene, rng).save(written, "JPEG")
            photos.append(written.getvalue())
    path = "/v1/match" if options.match else "/v1/search" if options.index else "/v1/caption"
    fields = {} if options.match else {"top": b"12" if options.index else b"1"}
    if options.text and not options.caption:
        fields["text"] = options.text.encode()
    found = []
    for photo in photos:
        with_photo = {} if options.index and options.text else {"photo": photo}
        body = form({**fields, **with_photo})
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        found.append(head.encode() + body)
    return found


async def answered(reader: asyncio.StreamReader) -> int:
    """The status of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def load(port: int, given: list[bytes], clients: int, seconds: float) -> dict:
    """What `clients` that never rest get in `seconds`."""
    times, errors = [], 0
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        place = number
        while (began := time.perf_counter()) < until:
            writer.write(given[place % len(given)])
            place += clients
            errors += await answered(reader) != 200
            times.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    took = time.perf_counter() - began
    cuts = statistics.quantiles(times, n=20) if len(times) > 1 else times * 19
    return {
        "clients": clients,
        "requests": len(times),
        "a second": len(times) / took,
        "p50 ms": 1000 * statistics.median(times),
        "p95 ms": 1000 * cuts[-1],
        "errors": errors,
    }


def batches(port: int) -> tuple[float, float]:
    """How many requests were answered so far, and in how many forward passes."""
    with urllib.request.urlopen(f"http://localhost:{port}/metrics") as answer:
        rows = [line.split() for line in answer.read().decode().splitlines()]
    found = dict.fromkeys(("sum", "count"), 0.0)
    for row in rows:
        for key in found:
            if row[0].startswith(f"imagetext_batch_size_{key}"):
                found[key] += float(row[1])
    return found["sum"], found["count"]


def wait_until_ready(port: int, process: subprocess.Popen) -> None:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/readyz"):
                return
        except urllib.error.HTTPError as error:  # 503: it says how far it is
            for part in json.load(error)["parts"]:
                if part["state"] == "failed":
                    sys.exit(f"{part['name']}: {part['told']} (above)")
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.2)
    sys.exit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    served = parser.add_mutually_exclusive_group(required=True)
    served.add_argument("--caption", help="a captioning run")
    served.add_argument("--match", help="a matching run")
    served.add_argument("--index", help="an index of photos")
    served.add_argument("--stand-in", action="store_true", help="no model: the server alone")
    parser.add_argument("--retrieval", help="the index's run, where it is not where it was")
    parser.add_argument("--photos", help="a folder of JPEG files; scenes of the sample otherwise")
    parser.add_argument("--text", help="the sentence to match, or to search by")
    parser.add_argument("--clients", default="1,64", help="one and many, with commas between")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pass-ms", type=float, default=40.0, help="of the stand-in")
    parser.add_argument("--photo-ms", type=float, default=0.5, help="of the stand-in")
    parser.add_argument("--port", type=int, default=8799)
    parser.add_argument("--json", help="also write the figures here")
    options = parser.parse_args()
    if options.match and not options.text:
        options.text = "a red star left of a blue square"
    sys.path.insert(0, str(ROOT))
    if options.stand_in:
        words = ["-c", STAND_IN.format(**vars(options)), str(options.port)]
    else:
        words = ["-m", "imagetext", "serve", "--port", str(options.port)]
        for name in ("caption", "match", "index", "retrieval"):
            if given := getattr(options, name):
                words += [f"--{name}", given]
    words = [sys.executable, *words]
    process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    rounds, shared = [], {}
    try:
        wait_until_ready(options.port, process)
        given = requests(options)
        counts = [int(count) for count in options.clients.split(",")]
        for count in counts:  # not measured: connections, caches, graphs
            asyncio.run(load(options.port, given, count, 1.0))
        for _ in range(options.rounds):
            for count in counts:
                before = batches(options.port)
                rounds.append(asyncio.run(load(options.port, given, count, options.seconds)))
                after = batches(options.port)
                size = (after[0] - before[0]) / max(after[1] - before[1], 1)
                shared.setdefault(count, []).append(size)
    finally:
        process.terminate()
        process.wait(20)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    served = options.caption or options.match or options.index or "a stand-in that sleeps"
    print(f"served: {served}")
    print(f"{'clients':>8}{'a second':>10}{'p50 ms':>9}{'p95 ms':>9}{'batch':>7}{'errors':>8}")
    figures = []
    for count in counts:
        rows = [row for row in rounds if row["clients"] == count]
        figure = {
            key: statistics.median(row[key] for row in rows)
            for key in ("clients", "a second", "p50 ms", "p95 ms")
        }
        figure["errors"] = sum(row["errors"] for row in rows)
        figure["batch"] = statistics.median(shared[count])
        figures.append(figure)
        print(
            f"{count:8}{figure['a second']:10.1f}{figure['p50 ms']:9.1f}{figure['p95 ms']:9.1f}"
            f"{figure['batch']:7.1f}{figure['errors']:8}"
        )
    ratio = figures[-1]["a second"] / figures[0]["a second"]
    last = figures[-1]
    print(
        f"{counts[-1]} clients get {ratio:.1f} times what {counts[0]} gets (goal: 4), "
        f"95 of 100 answers within {last['p95 ms']:,.0f} ms, {last['errors']} errors"
    )
    if options.json:
        told = {"served": served, "ratio": ratio, "figures": figures}
        Path(options.json).write_text(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
