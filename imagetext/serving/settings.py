"""What the web app allows: every limit in one place.

Settings(token="s3cret", most_bytes=4 * 2**20)
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Limits of the web app; the defaults suit one machine and photos of phones.

    Photos, however many are sent and however they are made, take no more memory than
    `decoders * decode_bytes + most_held + thumbnails`, and each no more than `decode_seconds`.

    Args:
        token: What clients must send as `Authorization: Bearer TOKEN`; None lets everyone in.
        hosts: Names by which the server may be called, besides localhost and bare addresses.
        most_bytes: Largest body of a request.
        most_held: Bytes of all bodies and waiting photos in memory at one time.
        most_pixels: Largest photo, as its header has it.
        most_scanned: Pixels of a JPEG times the passes that its file makes over them. (Ten passes
            are common, over the largest photo as well.)
        decode_bytes: All memory of a process that decodes photos, of which there are `decoders`.
        decode_seconds: Seconds of a core that a photo may take it, whatever its format.
        longest_side: Photos are shrunk to this before a model is given them.
        longest_text: Characters of a sentence.
        most_json: Largest JSON body.
        deepest_json: How deeply JSON may be nested.
        most_fields: Parts of a form.
        most_top: Most captions or photos that may be asked for.
        most_beams: Widest search for captions.
        most_requests: Requests that are being answered or refused at one time.
        most_waiting: Connections that may wait without a request; the oldest make room.
        most_connections_each: Connections of one address, likewise. More than `most_requests`, so
            that who has many, a proxy say, is answered 503 rather than cut off.
        header_seconds: How long a connection may wait for a whole header.
        request_seconds: How long a request may take in all, with its answer's way to the client.
        body_seconds: How long a client may take to send its body.
        answer_seconds: How long an answer may take, waiting in the queue included.
        together: Requests that share one forward pass, at most.
        wait_ms: How long a batch waits for company, where there lately was some.
        queue: Requests that may wait at each model; more are asked to come back later.
        decoders: Processes that decode photos. Photos of the index are read when it is their turn,
            so that no more than this many are in memory.
        thumbnails: Bytes of thumbnails kept in memory.
    """

    token: str | None = None
    hosts: tuple[str, ...] = ()
    most_bytes: int = 16 * 2**20
    most_held: int = 256 * 2**20
    most_pixels: int = 60_000_000
    most_scanned: int = 720_000_000
    decode_bytes: int = 2**30
    decode_seconds: float = 8.0
    longest_side: int = 1024
    longest_text: int = 500
    most_json: int = 16 * 2**10
    deepest_json: int = 4
    most_fields: int = 12
    most_top: int = 60
    most_beams: int = 10
    most_requests: int = 512
    most_waiting: int = 1024
    most_connections_each: int = 1024
    header_seconds: float = 10.0
    request_seconds: float = 150.0
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    together: int = 32
    wait_ms: float = 4.0
    queue: int = 256
    decoders: int = 2
    thumbnails: int = 64 * 2**20
