"""The command line.

Each verb is a function in one of the modules here; its signature makes the options, and its
docstring the help.
"""

import logging
import sys
import textwrap
from collections.abc import Callable

import imagetext
from imagetext.commands import answers, data, index, lists, runs, serving
from imagetext.commands.program import Program

VERBS: dict[str, Callable] = {
    "train": runs.train,
    "evaluate": runs.evaluate,
    "compare": runs.compare,
    "predict": answers.predict,
    "caption": answers.caption,
    "classify": answers.classify,
    "export": runs.export,
    "search": answers.search,
    "serve": serving.serve,
    "configs": lists.configs,
    "encoders": lists.encoders,
    "data audit": data.data_audit,
    "data check": data.data_check,
    "data embed": data.data_embed,
    "data features": data.data_features,
    "data sample": data.data_sample,
    "index build": index.index_build,
    "index add": index.index_add,
    "index remove": index.index_remove,
    "index check": index.index_check,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after `imagetext`; those of this process by default.

    Returns:
        The exit status: 0, 1 for a mistake of the user's, 2 for an unknown command.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    about = (imagetext.__doc__ or "").splitlines()[0]
    program = Program("imagetext", VERBS, about, imagetext.__version__, {"train": describe_keys})
    return program.run(sys.argv[1:] if arguments is None else arguments)


def describe_keys() -> str:
    """Every configuration key of every task, with its default and meaning."""
    from imagetext.task import all_tasks
    from imagetext.training.config_files import describe_config

    lines = []
    for task in all_tasks().values():
        lines += [f"configuration keys of {task.name} ({task.label}), with their defaults:"]
        for key, default, meaning in describe_config(task.config_class):
            text = textwrap.fill(meaning, 92, initial_indent=" " * 6, subsequent_indent=" " * 6)
            lines += [f"  --{key} {default}", text]
    return "\n".join(lines)
