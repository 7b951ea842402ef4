"""Measure the throughput of the web app, for a single client and for many.

    python -m benchmarks.serving --caption runs/best-1 --photos flickr8k/images
    python -m benchmarks.serving --match runs/itm-best-1 --clients 1,16,64
    python -m benchmarks.serving --index photos.index --text "a dog in snow"
    python -m benchmarks.serving --stand-in         # the server alone, with a model that sleeps

Measures one model at a time: captioning, matching, or search (by --text, or else by photos). The
server runs in a child process; each client is a connection that sends its next photo as soon as it
has received an answer. Rounds with one client and with many alternate; the result is the number of
requests per second, as a median over the rounds. The stand-in takes a fixed time per forward pass
and a little for each photo. Its gain from many clients shows how much of the gain of an ideal model
the server preserves; it says nothing about a real model.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks.common import ROOT, child_environment, describe_machine, make_parser

STAND_IN = """
import sys, time
import uvicorn
from imagetext.captioning.service import MappedCaption
from imagetext.serving.app import create_app

class StandIn:
    def captions(self, photos, beams, top, maps):
        time.sleep({pass_ms} / 1000 + {photo_ms} / 1000 * len(photos))
        return [[MappedCaption("a dog", -1.0, -0.5)] * top for _ in photos]

uvicorn.run(create_app(StandIn()), port=int(sys.argv[1]), log_level="warning")
"""


def encode_form(fields: dict[str, bytes]) -> bytes:
    body = b""
    for name, data in fields.items():
        file = b'; filename="photo"' if name == "photo" else b""
        head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + file
        body += b"--x\r\n" + head + b"\r\n\r\n" + data + b"\r\n"
    return body + b"--x--\r\n"


def build_requests(options) -> list[bytes]:
    """The raw requests that the clients send in turn."""
    if options.photos:
        files = sorted(Path(options.photos).glob("*.jpg"))[:64]
        photos = [file.read_bytes() for file in files]
    else:
        import io
        import random

        from imagetext.pipelines.sample import all_scenes, draw

        rng, photos = random.Random(0), []
        for scene in rng.sample(all_scenes(), 64):
            buffer = io.BytesIO()
            draw(scene, rng).save(buffer, "JPEG")
            photos.append(buffer.getvalue())
    path = "/v1/match" if options.match else "/v1/search" if options.index else "/v1/caption"
    fields = {} if options.match else {"top": b"12" if options.index else b"1"}
    if options.text and not options.caption:
        fields["text"] = options.text.encode()
    messages = []
    for photo in photos:
        with_photo = {} if options.index and options.text else {"photo": photo}
        body = encode_form({**fields, **with_photo})
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        messages.append(head.encode() + body)
    return messages


async def read_status(reader: asyncio.StreamReader) -> int:
    """The status of the next response."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def measure(port: int, messages: list[bytes], clients: int, seconds: float) -> dict:
    """The throughput and latencies of `clients` that send requests without a pause."""
    times, errors = [], 0
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        place = number
        while (start := time.perf_counter()) < until:
            writer.write(messages[place % len(messages)])
            place += clients
            errors += await read_status(reader) != 200
            times.append(time.perf_counter() - start)
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    duration = time.perf_counter() - start
    percentiles = statistics.quantiles(times, n=20) if len(times) > 1 else times * 19
    return {
        "clients": clients,
        "requests": len(times),
        "per second": len(times) / duration,
        "p50 ms": 1000 * statistics.median(times),
        "p95 ms": 1000 * percentiles[-1],
        "errors": errors,
    }


def count_batches(port: int) -> tuple[float, float]:
    """The number of requests answered so far, and of forward passes."""
    with urllib.request.urlopen(f"http://localhost:{port}/metrics") as response:
        rows = [line.split() for line in response.read().decode().splitlines()]
    totals = dict.fromkeys(("sum", "count"), 0.0)
    for row in rows:
        for key in totals:
            if row[0].startswith(f"imagetext_batch_size_{key}"):
                totals[key] += float(row[1])
    return totals["sum"], totals["count"]


def wait_until_ready(port: int, process: subprocess.Popen) -> None:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/readyz"):
                return
        except urllib.error.HTTPError as error:  # 503, with the progress of loading
            for part in json.load(error)["parts"]:
                if part["state"] == "failed":
                    sys.exit(f"{part['name']}: {part['message']}")
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.2)
    sys.exit("the server did not start")


def main() -> None:
    parser = make_parser(__doc__)
    served = parser.add_mutually_exclusive_group(required=True)
    served.add_argument("--caption", help="a captioning run")
    served.add_argument("--match", help="a matching run")
    served.add_argument("--index", help="an index of photos")
    served.add_argument(
        "--stand-in", action="store_true", help="the server alone, with a model that sleeps"
    )
    parser.add_argument("--retrieval", help="the run that built the index, if it has been moved")
    parser.add_argument("--photos", help="a folder of JPEG files; by default scenes of the sample")
    parser.add_argument("--text", help="the sentence to match or to search for")
    parser.add_argument("--clients", default="1,64", help="numbers of clients, separated by commas")
    parser.add_argument("--seconds", type=float, default=6.0, help="duration of a round")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument(
        "--pass-ms", type=float, default=40.0, help="time of a pass of the stand-in"
    )
    parser.add_argument(
        "--photo-ms", type=float, default=0.5, help="time per photo of the stand-in"
    )
    parser.add_argument("--port", type=int, default=8799, help="port of the server")
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    if options.match and not options.text:
        options.text = "a red star left of a blue square"
    if options.stand_in:
        arguments = ["-c", STAND_IN.format(**vars(options)), str(options.port)]
    else:
        arguments = ["-m", "imagetext", "serve", "--port", str(options.port)]
        for name in ("caption", "match", "index", "retrieval"):
            if value := getattr(options, name):
                arguments += [f"--{name}", value]
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=child_environment())
    rounds, sizes = [], {}
    try:
        wait_until_ready(options.port, process)
        messages = build_requests(options)
        counts = [int(count) for count in options.clients.split(",")]
        for count in counts:  # warm-up: connections, caches, graphs
            asyncio.run(measure(options.port, messages, count, 1.0))
        for _ in range(options.rounds):
            for count in counts:
                before = count_batches(options.port)
                rounds.append(asyncio.run(measure(options.port, messages, count, options.seconds)))
                after = count_batches(options.port)
                size = (after[0] - before[0]) / max(after[1] - before[1], 1)
                sizes.setdefault(count, []).append(size)
    finally:
        process.terminate()
        process.wait(20)
    print(describe_machine())
    served = options.caption or options.match or options.index or "a stand-in"
    print(f"served: {served}")
    print(f"{'clients':>8}{'per second':>11}{'p50 ms':>9}{'p95 ms':>9}{'batch':>7}{'errors':>8}")
    figures = []
    for count in counts:
        rows = [row for row in rounds if row["clients"] == count]
        figure = {
            key: statistics.median(row[key] for row in rows)
            for key in ("clients", "per second", "p50 ms", "p95 ms")
        }
        figure["errors"] = sum(row["errors"] for row in rows)
        figure["batch"] = statistics.median(sizes[count])
        figures.append(figure)
        print(
            f"{count:8}{figure['per second']:11.1f}{figure['p50 ms']:9.1f}{figure['p95 ms']:9.1f}"
            f"{figure['batch']:7.1f}{figure['errors']:8}"
        )
    ratio = figures[-1]["per second"] / figures[0]["per second"]
    last = figures[-1]
    print(
        f"{counts[-1]} clients get {ratio:.1f} times the throughput of {counts[0]} (goal: 4); "
        f"95% of the answers within {last['p95 ms']:,.0f} ms, {last['errors']} errors"
    )
    if options.json:
        result = {"served": served, "ratio": ratio, "figures": figures}
        Path(options.json).write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
