"""The limits of the web app, all in one place.

ServerSettings(token="s3cret", max_bytes=4 * 2**20)
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSettings:
    """Limits of the web app. The defaults suit a single machine and photos taken with a phone.

    However many photos are sent, and whatever is in them, they take no more memory than
    `decoders * decoder_bytes + max_held_bytes + thumbnail_bytes`, and each no more than
    `decoder_seconds`.

    Args:
        token: What clients must send as `Authorization: Bearer TOKEN`; None lets everyone in.
        hosts: Host names that requests may use, besides localhost and IP addresses.
        max_bytes: Largest body of a request.
        max_held_bytes: Memory for all request bodies and waiting photos together.
        max_pixels: Largest photo, according to its header.
        max_scanned_pixels: Pixels of a JPEG times the number of scans in its file. (Ten scans are
            common, even in the largest photos.)
        max_side: Photos are scaled down to this side before a model sees them.
        max_text: Characters of a sentence.
        max_json_bytes: Largest JSON body.
        max_json_depth: Deepest nesting of JSON.
        max_fields: Parts of a form.
        max_top: Most photos that can be asked for.
        max_beams: Most captions that can be asked for, and the widest beam search.
        max_requests: Requests that are processed at the same time.
        max_waiting_connections: Connections without a request; the oldest are closed first.
        max_connections_per_address: The same for each address. It should exceed `max_requests`, so
            that a proxy with many connections gets a 503 rather than a closed connection.
        header_seconds: How long a connection may take to send a complete header.
        request_seconds: How long a request may take in all, including sending the response.
        body_seconds: How long a client may take to send the body.
        answer_seconds: How long an answer may take, including the time in the queue.
        max_batch: Most requests that share a forward pass.
        batch_wait_ms: How long a batch waits for more requests after there have been several.
        max_queue: Requests that may wait for each model; any more are answered with 503.
        decoders: Processes that decode photos. Photos of an index are read when it is their turn,
            so no more than this many are in memory.
        decoder_bytes: All the memory of a process that decodes photos.
        decoder_seconds: CPU time that decoding a photo may take.
        thumbnail_bytes: Memory for cached thumbnails.
    """

    token: str | None = None
    hosts: tuple[str, ...] = ()
    max_bytes: int = 16 * 2**20
    max_held_bytes: int = 256 * 2**20
    max_pixels: int = 60_000_000
    max_scanned_pixels: int = 720_000_000
    max_side: int = 1024
    max_text: int = 500
    max_json_bytes: int = 16 * 2**10
    max_json_depth: int = 4
    max_fields: int = 12
    max_top: int = 60
    max_beams: int = 10
    max_requests: int = 512
    max_waiting_connections: int = 1024
    max_connections_per_address: int = 1024
    header_seconds: float = 10.0
    request_seconds: float = 150.0
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    max_batch: int = 32
    batch_wait_ms: float = 4.0
    max_queue: int = 256
    decoders: int = 2
    decoder_bytes: int = 2**30
    decoder_seconds: float = 8.0
    thumbnail_bytes: int = 64 * 2**20
