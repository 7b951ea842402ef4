"""Configuration files: read, checked, written and described.

    config = load_config(ITMConfig, "itm/cnn", {"train.epochs": 3})
    config = load_run_config(ITMConfig, run)

A configuration is a frozen dataclass. A YAML file sets some of its keys, and overrides by dotted
key take precedence. Unknown keys and values of the wrong type are reported by file and key.
"""

import dataclasses
import difflib
import functools
import inspect
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

import imagetext
from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.training.run import Run

Config = TypeVar("Config")


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with imagetext, by name: {"itm/cnn": Path(...), ...}."""
    for folder in map(Path, imagetext.__path__):
        files = sorted((folder / "configs").glob("*/*.yaml"))
        if files:
            return {f"{file.parent.name}/{file.stem}": file for file in files}
    return {}


def find_config(name: str | Path) -> Path:
    """The file of a configuration.

    Args:
        name: A path, or the name of a shipped configuration such as "itm/cnn" (or its path in the
            repository, configs/itm/cnn.yaml).

    Returns:
        The file.
    """
    path = Path(name)
    if path.exists():
        return path
    plain = path.with_suffix("") if path.suffix in (".yaml", ".yml") else path
    shipped = shipped_configs()
    wanted = plain.as_posix().removeprefix("configs/")
    if wanted in shipped:
        return shipped[wanted]
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1)
    close = [str(path.parent / near[0])] if near else difflib.get_close_matches(wanted, shipped, 1)
    hint = f"did you mean {close[0]}?" if close else "`imagetext configs` lists those shipped"
    raise UserError(f"{name}: no such configuration; {hint}")


@functools.cache
def _parser_of(kind: type) -> Any:
    """A jsonargparse parser of a dataclass; to make one takes as long as to use it."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(kind, nested_key=None)
    return parser


def load_config(
    kind: type[Config], path: str | Path | None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read a configuration from a YAML file and overrides.

    Args:
        kind: The dataclass of the task.
        path: A YAML file or the name of a shipped configuration; None for the defaults.
        overrides: Values by dotted key, such as {"train.epochs": 3}.

    Returns:
        An instance of `kind`.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        path = find_config(path)
        tree = read_yaml(path)
        _refuse_renamed(kind, tree, str(path))
        _refuse_unknown(kind, tree, str(path))
    return _merged(kind, tree, overrides, str(path))


def load_run_config(
    kind: type[Config],
    run: Run,
    overrides: Mapping[str, Any] | None = None,
    changeable: Collection[str] | None = None,
) -> Config:
    """Read the configuration of a run, whose file may use keys that have been renamed since.

    Args:
        kind: The dataclass of the task.
        run: The run.
        overrides: Values by dotted key, such as {"data.root": "flickr8k"}.
        changeable: The keys that overrides may contain, as the run is trained; by default, all.

    Returns:
        An instance of `kind`.
    """
    if changeable is not None:
        # A key that has been renamed is refused below, with its new name.
        allowed = {*changeable, *getattr(kind, "RENAMED", ())}
        for key in sorted(set(overrides or ()) - allowed):
            raise UserError(
                f"--{key}: cannot be changed for a trained run; only these can be set:"
                f" {', '.join(changeable)}"
            )
    tree = with_current_keys(kind, read_yaml(run.config_file))
    _refuse_unknown(kind, tree, str(run.config_file))
    return _merged(kind, tree, overrides, str(run.config_file))


def with_current_keys(kind: type, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Replace renamed keys and values by their current names.

    A configuration class lists them as `RENAMED = {"data.encoder": "text.encoder"}` and
    `RENAMED_VALUES = {"model.head": {"cnn": "concat"}}`.
    """
    current = _copied(tree)
    for old, new in getattr(kind, "RENAMED", {}).items():
        *path, last = old.split(".")
        section: Any = current
        for key in path:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and last in section:
            _put(current, new, section.pop(last))
    for key, values in getattr(kind, "RENAMED_VALUES", {}).items():
        value = _get(current, key)
        if isinstance(value, str) and value in values:
            _put(current, key, values[value])
    return current


def _refuse_renamed(kind: type, tree: Mapping[str, Any], origin: str) -> None:
    """Refuse keys and values that have been renamed, all in one message."""
    changes = []
    for old, new in getattr(kind, "RENAMED", {}).items():
        if _get(tree, old, missing := object()) is not missing:
            changes.append(f"{old} has been renamed: use {new}")
    for key, values in getattr(kind, "RENAMED_VALUES", {}).items():
        value = _get(tree, key)
        if isinstance(value, str) and value in values:
            changes.append(f"{key}: {value} has been renamed: use {values[value]}")
    if changes:
        raise UserError("\n".join(f"{origin}: {change}" for change in changes))


def _get(tree: Any, dotted: str, default: Any = None) -> Any:
    for key in dotted.split("."):
        if not isinstance(tree, Mapping) or key not in tree:
            return default
        tree = tree[key]
    return tree


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    for key in path:
        tree = tree.setdefault(key, {})
    tree[last] = value


def _merged(
    kind: type[Config], tree: dict[str, Any], overrides: Mapping[str, Any] | None, origin: str
) -> Config:
    if tree or not overrides:
        config = _instantiated(kind, tree, origin)  # here, so that an error names the file
        if not overrides:
            return config
    merged = _copied(tree)
    for dotted, value in overrides.items():
        _refuse_renamed(kind, _nested(dotted, value), f"--{dotted}")
        _refuse_unknown(kind, _nested(dotted, value), f"--{dotted}")
        _set(merged, kind, dotted, value)
    return _instantiated(kind, merged, "command line")


class _PlainLoader(yaml.SafeLoader):
    """YAML in which only true and false are booleans: `xla: on` means the word, as in YAML 1.2."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file with a mapping at its top level."""
    path = Path(path)
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: not a configuration; expected lines like `train: {{epochs: 3}}`")
    return tree


def write_config(path: str | Path, config: Any) -> None:
    """Write a configuration with all its keys, so that the run can be repeated from the file."""
    write_text(path, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))


def _instantiated(kind: type[Config], tree: dict[str, Any], origin: str) -> Config:
    from jsonargparse import ArgumentError

    parser = _parser_of(cast(Any, kind))  # mypy takes the class for unhashable
    try:
        namespace = parser.parse_object(tree)
        return kind(**vars(parser.instantiate(namespace)))
    except UserError as error:
        raise UserError(f"{origin}: {error}") from error
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        raise UserError(f"{origin}: {_first_words(error)}") from error


def _first_words(error: Exception) -> str:
    """The first lines of a message: jsonargparse explains every branch of a type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = " ".join(lines[:3]).replace("typing.Literal", "one of ")
    return re.sub(r"^Parser key ", "", message)


def _refuse_unknown(kind: type, tree: Mapping[str, Any], origin: str, inside: str = "") -> None:
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    for key, value in tree.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            hint = (
                f"did you mean {inside}{near[0]}?"
                if near
                else f"expected one of {', '.join(fields)}"
            )
            raise UserError(f"{origin}: unknown key {inside}{key}; {hint}")
        if dataclasses.is_dataclass(fields[key]):
            if not isinstance(value, Mapping):
                raise UserError(
                    f"{origin}: {inside}{key}: expected a section of keys, got {value!r}"
                )
            _refuse_unknown(cast(type, fields[key]), value, origin, f"{inside}{key}.")


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    first, _, rest = dotted.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _set(tree: dict[str, Any], kind: type, dotted: str, value: Any) -> None:
    """Apply an override. Values from the command line are strings: they are parsed as YAML, except
    for keys that hold strings (a run may be named 2024)."""
    *path, last = dotted.split(".")
    for key in path:
        tree = tree.setdefault(key, {})
        kind = next(cast(type, f.type) for f in dataclasses.fields(kind) if f.name == key)
    expected = next(field.type for field in dataclasses.fields(kind) if field.name == last)
    if isinstance(value, str) and not (expected in (str, str | None) and value != "null"):
        try:
            value = yaml.load(value, _PlainLoader) if value else value
        except yaml.YAMLError as error:
            raise UserError(f"--{dotted}: {value!r} cannot be read as a value") from error
    tree[last] = value


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _copied(value) if isinstance(value, dict) else value for key, value in tree.items()
    }


def describe_config(config: Any, inside: str = "") -> list[tuple[str, str, str]]:
    """Describe every key of a configuration.

    Args:
        config: A configuration, or its class for the default values.
        inside: Prefix of the keys.

    Returns:
        (dotted key, value, meaning) of every key; the meaning is from the docstring of the class or
        of one of its base classes.
    """
    config = config() if isinstance(config, type) else config
    meanings: dict[str, str] = {}
    for each in reversed(type(config).__mro__):
        meanings |= argument_meanings(each)
    rows = []
    for field in dataclasses.fields(config):
        default = getattr(config, field.name)
        if dataclasses.is_dataclass(default):
            rows += describe_config(default, f"{inside}{field.name}.")
            continue
        shown = yaml.safe_dump(default, default_flow_style=True).split("\n")[0]
        rows.append((inside + field.name, shown, meanings.get(field.name, "")))
    return rows


def argument_meanings(documented: Any) -> dict[str, str]:
    """The meaning of each argument, from the `Args:` section of a docstring."""
    _, _, section = (inspect.getdoc(documented) or "").partition("Args:\n")
    meanings: dict[str, str] = {}
    for line in section.splitlines():
        if line.strip() and not line.startswith(" "):
            break  # the next section
        name, colon, meaning = line.strip().partition(": ")
        if colon and name.isidentifier():
            meanings[name] = meaning
        elif meanings and line.strip():
            meanings[list(meanings)[-1]] += " " + line.strip()
    return meanings
