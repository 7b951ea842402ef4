"""Scripts in processes of their own, which have TensorFlow and Keras and nothing of this package.

    done = run_fresh("import sys; print(sys.argv[1])", ["here"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr

They are forks of a server that has imported TensorFlow once, which otherwise takes each of them
seconds. The server is started by the first, and has never run a model.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tensorflow", "tensorflow_text", "keras"])


def start_fresh(
    script: str, arguments: Sequence[str] = (), cwd: Path | str = ".", output: Path | None = None
) -> BaseProcess:
    """Start a script; it can be killed. What it prints goes to `output`/stdout and stderr."""
    words = [script, list(map(str, arguments)), str(Path(cwd).resolve()), dict(os.environ), output]
    process = _CONTEXT.Process(target=_execute, args=words)
    process.start()
    return process


def run_fresh(
    script: str, arguments: Sequence[str] = (), cwd: Path | str = "."
) -> CompletedProcess[str]:
    """Run a script to its end."""
    with tempfile.TemporaryDirectory() as folder:
        process = start_fresh(script, arguments, cwd, Path(folder))
        process.join()
        printed = [(Path(folder) / name).read_text() for name in ("stdout", "stderr")]
    return CompletedProcess([script, *arguments], process.exitcode or 0, *printed)


def _execute(
    script: str, arguments: list[str], cwd: str, environment: dict[str, str], output: Path | None
) -> None:
    for name, stream in (("stdout", 1), ("stderr", 2)):
        file = os.open(output / name if output else os.devnull, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["script", *arguments]
    exec(compile(script, "script", "exec"), {"__name__": "__main__"})
