"""`imagetext serve`: the web app."""

import importlib.util
import os

from imagetext.errors import UserError


def serve(
    caption: str | None = None,
    match: str | None = None,
    index: str | None = None,
    retrieval: str | None = None,
    sample: bool = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    hosts: str | None = None,
):
    """Serve a web page and a JSON API for captioning, search and matching.

    Give any of --caption, --match and --index. The page is available at once and shows how far the
    models have loaded. It can be reached from this machine only, unless --host says otherwise.

    Example:
        imagetext serve --sample
        imagetext serve --caption runs/best-1 --match runs/itm-best-1 --index photos.index
        imagetext serve --caption runs/best-1 --host 0.0.0.0 --token "$(openssl rand -hex 16)"

    Args:
        caption: The folder of a captioning run, or several separated by commas.
        match: The folder of a matching run.
        index: The folder of an index of photos.
        retrieval: The retrieval run that built the index, if it has been moved.
        sample: Small models of the built-in sample, trained first if necessary (a few minutes).
        host: Address to listen on; 0.0.0.0 for every network interface.
        port: Port to listen on.
        token: Password of the API; safer in the variable IMAGETEXT_TOKEN, which other users cannot
            read.
        hosts: Host names under which this machine may be reached, separated by commas.
    """
    # Threads of NumPy and FAISS wait for work by spinning, which takes a core away from the models
    # for tens of milliseconds; both libraries read these variables when they are first loaded.
    for library in ("OPENBLAS", "OMP"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    if importlib.util.find_spec("fastapi") is None:
        raise UserError("`serve` needs the extra `web`: pip install 'imagetext[web]'")
    from imagetext.serving.serve import build, read_token
    from imagetext.serving.serve import serve as serve_app
    from imagetext.serving.settings import ServerSettings

    sources: dict[str, dict[str, str | None]] = {}
    if caption:
        sources["caption"] = {"run": caption}
    if match:
        sources["match"] = {"run": match}
    if index:
        sources["search"] = {"index": index, "run": retrieval}
    names = tuple(name.strip() for name in (hosts or "").split(",") if name.strip())
    settings = ServerSettings(token=read_token(token), hosts=names)
    serve_app(build(sources, sample, settings), host, port)
