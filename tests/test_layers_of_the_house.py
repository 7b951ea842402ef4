"""Imports point down the house, in no circle; files stay short; the wheel has every package."""

import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = ("pipelines", "itm", "captioning", "retrieval")
#: From the ground up. A package may import what stands before it, and the tasks each other.
HOUSE = [
    {"errors", "files", "terminal"},
    {"pipelines"},
    {"encoders"},
    {"layers"},
    {"metrics"},
    {"training"},
    {"task"},
    {"reports"},
    {"itm", "captioning", "retrieval"},
    {"serving"},
    {"api"},
    {"commands"},
]
FLOOR = {package: floor for floor, packages in enumerate(HOUSE) for package in packages}


def modules() -> dict[str, Path]:
    """Every module of the package by name."""
    files = [*(ROOT / "imagetext").rglob("*.py")]
    files += [file for name in MAPPED for file in (ROOT / name).rglob("*.py")]
    names = {}
    for file in files:
        parts = list(file.relative_to(ROOT).with_suffix("").parts)
        parts = parts if parts[0] == "imagetext" else ["imagetext", *parts]
        names[".".join(parts).removesuffix(".__init__")] = file
    return names


MODULES = modules()


def imports_of(file: Path) -> set[str]:
    """The modules of ours that a file imports, at once or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imagetext"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("imagetext.")}
    return found & set(MODULES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module):
    package = module.split(".")[1] if "." in module else None
    if package not in FLOOR:
        return  # imagetext itself, and its __main__
    for imported in imports_of(MODULES[module]):
        other = imported.split(".")[1]
        assert FLOOR[other] <= FLOOR[package], f"{module} imports {imported}"


def test_no_module_imports_itself_in_a_circle():
    edges = {name: imports_of(file) for name, file in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in edges[name] - {name}:
                visit(other, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_no_file_is_longer_than_400_lines():
    files = [*MODULES.values(), *ROOT.glob("*.py")]
    files += [file for name in ("benchmarks", "tests") for file in (ROOT / name).rglob("*.py")]
    long = {
        str(file.relative_to(ROOT)): lines
        for file in files
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


def test_every_package_is_installed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    packages = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    assert listed == packages | {"imagetext.configs"}
