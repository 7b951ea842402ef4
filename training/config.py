"""What every run can be told about its training, and how configuration files are read.

    config = load_config(ITMConfig, "configs/itm/cnn.yaml", {"train.epochs": 3})

A configuration is a frozen dataclass; a YAML file sets some of its keys, dotted overrides come
last. Whatever is unknown or of the wrong type is refused with the file and the key named.
"""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from pipelines.errors import UserError
from pipelines.files import write_text
from training.limits import above_zero, at_least, below_one, require

Config = TypeVar("Config")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained, whatever its task.

    Args:
        epochs: Passes over the training data; 0 where a stage before has taught all there is.
        learning_rate: The highest rate, reached at the end of the warm-up.
        warmup: Share of all steps over which the rate rises from zero; it then falls to zero.
        weight_decay: AdamW's decay; never applied to biases and norms.
        clip_norm: Gradients longer than this (all together) are shortened to it; null for never.
        averaging: Score and keep a running mean of the weights, in which each step's share fades by
            this factor a step, such as 0.999; 0 for none.
        patience: Stop after so many epochs without a better `monitor`; null for never.
        monitor: The validation figure that chooses the best epoch, e.g. val_loss or val_auc.
        precision: Arithmetic of the hidden layers; auto takes the GPU's 16-bit kind, else float32.
        xla: Compile the step with XLA; auto does so on a GPU where it helps, never on a CPU.
        strategy: How TensorFlow spreads the work: none, mirrored, multi_worker, tpu.
        seed: Of weights, data order and dropout.
        deterministic: Same seed, same machine: same weights, bit for bit. Null: on a CPU yes, on a
            GPU no, where it is slower and rules out XLA.
        checkpoint_seconds: How often, within an epoch, the state is saved for --resume.
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0
    averaging: float = 0.0
    patience: int | None = None
    monitor: str = "val_loss"
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    xla: Literal["auto", "on", "off"] = "auto"
    strategy: Literal["none", "mirrored", "multi_worker", "tpu"] = "none"
    seed: int = 0
    deterministic: bool | None = None
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        at_least("train", self, epochs=0, weight_decay=0, checkpoint_seconds=0)
        above_zero("train", self, "learning_rate")
        below_one("train", self, "warmup", "averaging")
        for key, holds, wanted in (
            ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "above 0, or null"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 4294967295"),
            ("patience", self.patience is None or self.patience >= 1, "at least 1, or null"),
        ):
            require("train", self, key, holds, wanted)

    def require_monitor(self, figures: Iterable[str]) -> None:
        """Refuse to choose by a figure that the task does not compute."""
        if self.monitor not in figures:
            known = ", ".join(figures)
            raise UserError(f"train.monitor: no figure {self.monitor!r} -- one of {known}")


@dataclass(frozen=True)
class RunConfig:
    """Where the run is kept.

    Args:
        name: Its folder's name; null for the configuration's name and a number.
        folder: The folder of all runs.
    """

    name: str | None = None
    folder: str = "runs"


def absolute_paths(config: Config, names: Iterable[str]) -> Config:
    """The same with the paths under these names absolute, so that a run can be used anywhere."""
    given = {name: getattr(config, name) for name in names if getattr(config, name)}
    found = {name: str(Path(path).expanduser().absolute()) for name, path in given.items()}
    return dataclasses.replace(config, **found)


def require_blocks_fit(blocks: int, side: int) -> None:
    """Refuse a model's own Conv + MaxPool blocks where they leave nothing of a photo."""
    if side >> blocks < 1:
        raise UserError(
            f"model.filters: {blocks} blocks halve a photo of {side} pixels to nothing"
            " -- use fewer, or a larger data.image_size"
        )


def parser_of(kind: type) -> Any:
    """A jsonargparse parser for the dataclass `kind`, its keys as dotted options."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(kind, nested_key=None)
    return parser


def load_config(
    kind: type[Config], path: str | Path | None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read a YAML file (or nothing but defaults) and overrides by dotted name into `kind`."""
    tree: dict[str, Any] = {}
    if path is not None:
        tree = read_yaml(path)
        _refuse_unknown(kind, tree, str(path))
        _instantiated(kind, tree, str(path))  # so that an error names the file, not an override
    merged = _copied(tree)
    for dotted, value in (overrides or {}).items():
        _refuse_unknown(kind, _nested(dotted, value), f"--{dotted}")
        _set(merged, kind, dotted, value)
    return _instantiated(kind, merged, "command line" if overrides else str(path))


class _PlainLoader(yaml.SafeLoader):
    """YAML in which only true and false are booleans: `xla: on` means the word, as in YAML 1.2."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":bool")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    except OSError as error:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1)
        hint = f" -- did you mean {path.parent / near[0]}?" if near else ""
        raise UserError(f"{path}: {(error.strerror or 'cannot be read').lower()}{hint}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: not a configuration -- write lines like  train: {{epochs: 3}}")
    return tree


def write_config(path: str | Path, config: Any) -> None:
    """Write every key of a configuration, so that the file alone repeats the run."""
    write_text(path, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))


def _instantiated(kind: type[Config], tree: dict[str, Any], origin: str) -> Config:
    from jsonargparse import ArgumentError

    parser = parser_of(kind)
    try:
        namespace = parser.parse_object(tree)
        return kind(**vars(parser.instantiate(namespace)))
    except UserError as error:
        raise UserError(f"{origin}: {error}") from error
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        raise UserError(f"{origin}: {_first_words(error)}") from error


def _first_words(error: Exception) -> str:
    """jsonargparse explains every branch of a type; the first lines say what a user needs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join(lines[:3]).replace("typing.Literal", "one of ")
    return re.sub(r"^Parser key ", "", told)


def _refuse_unknown(kind: type, tree: Mapping[str, Any], origin: str, inside: str = "") -> None:
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    for key, value in tree.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            hint = f"did you mean {inside}{near[0]}?" if near else f"known: {', '.join(fields)}"
            raise UserError(f"{origin}: unknown key {inside}{key} -- {hint}")
        if dataclasses.is_dataclass(fields[key]):
            if not isinstance(value, Mapping):
                raise UserError(f"{origin}: {inside}{key} holds keys of its own, not {value!r}")
            _refuse_unknown(fields[key], value, origin, f"{inside}{key}.")


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    first, _, rest = dotted.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _set(tree: dict[str, Any], kind: type, dotted: str, value: Any) -> None:
    """Put an override in its place. From the command line everything is text: YAML knows which text
    is a number or null, but a key that holds text keeps it as it is (a run may be named 2024)."""
    *path, last = dotted.split(".")
    for key in path:
        tree = tree.setdefault(key, {})
        kind = next(field.type for field in dataclasses.fields(kind) if field.name == key)
    asked = next(field.type for field in dataclasses.fields(kind) if field.name == last)
    if isinstance(value, str) and not (asked in (str, str | None) and value != "null"):
        try:
            value = yaml.load(value, _PlainLoader) if value else value
        except yaml.YAMLError as error:
            raise UserError(f"--{dotted}: {value!r} cannot be read as a value") from error
    tree[last] = value


def _copied(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _copied(value) if isinstance(value, dict) else value for key, value in tree.items()
    }


def described(config: Any, inside: str = "") -> list[tuple[str, str, str]]:
    """(dotted key, default, meaning) of every key of a configuration, or of the default one of a
    class: the meaning from its docstring, or from that of a class it is built upon."""
    config = config() if isinstance(config, type) else config
    meanings: dict[str, str] = {}
    for each in reversed(type(config).__mro__):
        meanings |= argument_meanings(each)
    found = []
    for field in dataclasses.fields(config):
        default = getattr(config, field.name)
        if dataclasses.is_dataclass(default):
            found += described(default, f"{inside}{field.name}.")
            continue
        shown = yaml.safe_dump(default, default_flow_style=True).split("\n")[0]
        found.append((inside + field.name, shown, meanings.get(field.name, "")))
    return found


def argument_meanings(documented: Any) -> dict[str, str]:
    """What the `Args:` part of a docstring says of each name; indented lines continue the last."""
    _, _, told = (inspect.getdoc(documented) or "").partition("Args:\n")
    meanings: dict[str, str] = {}
    for line in told.splitlines():
        name, colon, meaning = line.strip().partition(": ")
        if colon and name.isidentifier():
            meanings[name] = meaning
        elif meanings and line.strip():
            meanings[list(meanings)[-1]] += " " + line.strip()
    return meanings
