"""The notebooks run from top to bottom as they stand, with fewer epochs."""

import json
import sys
import types
from pathlib import Path

import pytest

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path, monkeypatch):
    shown = []
    display = types.ModuleType("IPython.display")
    display.Image = lambda picture: shown.append(Path(picture).read_bytes()[:4])
    ipython = types.ModuleType("IPython")
    ipython.version_info, ipython.get_ipython = (9, 0), lambda: None  # matplotlib looks
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(path.parent)
    names: dict = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            code = "".join(cell["source"]).replace("EPOCHS = 22", "EPOCHS = 1")
            exec(compile(code, f"{path.name}:{cell['id']}", "exec"), names)
    assert shown == [b"\x89PNG"]
