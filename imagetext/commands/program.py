"""A command line made from functions: signatures become options, and docstrings become the help.

    program = Program("imagetext", {"data sample": data_sample}, about="Images and sentences")
    status = program.run(["data", "sample", "folder/"])         # data_sample(path="folder/")

Parameters without a default, and those of type `Word`, are positional; those that default to False
are switches. Dotted options (--data.root PATH) are collected in the parameter `overrides`.
"""

import argparse
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from imagetext.errors import UserError

#: An optional positional argument.
Word = Annotated[str | None, "word"]


@dataclass(frozen=True)
class Program:
    """A command line.

    Args:
        name: Name of the command.
        verbs: Function of each verb; a verb of two words belongs to a group, as "data sample".
        about: One sentence, shown at the top of the help.
        version: Shown by --version.
        epilogs: Functions that return more text for the end of a verb's help.
    """

    name: str
    verbs: Mapping[str, Callable]
    about: str
    version: str = ""
    epilogs: Mapping[str, Callable[[], str]] = field(default_factory=dict)

    def run(self, words: Sequence[str]) -> int:
        """Run one verb and return the exit status: 1 after a `UserError`, 2 for bad usage."""
        if not words or words[0] in ("-h", "--help", "help"):
            print(self._overview())
            return 0
        if words[0] == "--version":
            print(f"{self.name} {self.version}")
            return 0
        group = words[0] in {verb.split()[0] for verb in self.verbs if " " in verb}
        verb = " ".join(words[:2]) if group else words[0]
        if group and words[1:2] in ([], ["-h"], ["--help"]):
            print(self._overview(f"{words[0]} "))
            return 0
        if verb not in self.verbs:
            print(f"{self.name}: unknown verb {verb!r}\n\n{self._overview()}", file=sys.stderr)
            return 2
        function = self.verbs[verb]
        try:
            rest, overrides = _split_overrides(words[len(verb.split()) :], function)
            options = vars(self.parser(verb).parse_args(rest))
            function(**options, **overrides)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has gone, as in `imagetext encoders | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except UserError as error:
            print(f"{self.name} {verb}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            return 130
        return 0

    def _overview(self, group: str = "") -> str:
        lines = [self.about, "", f"usage: {self.name} VERB ...", ""]
        width = max(map(len, self.verbs))
        lines += [
            f"  {verb:{width}} {_doc(function).splitlines()[0]}"
            for verb, function in self.verbs.items()
            if verb.startswith(group)
        ]
        return "\n".join([*lines, "", f"{self.name} VERB --help shows its options and an example."])

    def parser(self, verb: str) -> argparse.ArgumentParser:
        """The parser of a verb's options, from the function's signature and docstring."""
        from imagetext.training.config_files import argument_meanings

        function = self.verbs[verb]
        meanings = argument_meanings(function)
        epilog = self.epilogs.get(verb)
        parser = argparse.ArgumentParser(
            prog=f"{self.name} {verb}",
            description=_doc(function).partition("\nArgs:\n")[0],
            epilog=epilog and epilog(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, parameter in inspect.signature(function).parameters.items():
            if name != "overrides":
                _add(parser, name, parameter, meanings.get(name, ""))
        return parser


def _doc(function: Callable) -> str:
    return inspect.getdoc(function) or ""


def _add(
    parser: argparse.ArgumentParser, name: str, parameter: inspect.Parameter, meaning: str
) -> None:
    kind = parameter.annotation
    option = f"--{name.rstrip('_')}"  # not_ becomes --not, as `not` is reserved in Python
    if parameter.default is inspect.Parameter.empty or kind is Word:
        counts = {list[str]: "+", Word: "?"}
        parser.add_argument(name, help=meaning, nargs=counts.get(kind))
    elif parameter.default is False:
        parser.add_argument(option, dest=name, action="store_true", help=meaning)
    else:
        shown = f" (default: {parameter.default})" if parameter.default else ""
        read = int if kind in (int, int | None) else str
        parser.add_argument(
            option,
            dest=name,
            metavar=name.rstrip("_").upper(),
            default=parameter.default,
            type=read,
            help=meaning + shown,
        )


def _split_overrides(words: Sequence[str], function: Callable) -> tuple[list[str], dict]:
    """Separate dotted options (--data.root PATH, --data.root=PATH) from a verb's other words."""
    if "overrides" not in inspect.signature(function).parameters:
        return list(words), {}
    kept, overrides = [], {}
    remaining = iter(words)
    for word in remaining:
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or "." not in name:
            kept.append(word)
            continue
        value = text if equals else next(remaining, None)
        if value is None:
            raise UserError(f"--{name}: expected a value; write --{name} VALUE")
        overrides[name] = value
    return kept, {"overrides": overrides}
