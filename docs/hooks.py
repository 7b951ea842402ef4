"""Generated pages of the site: every command, and every configuration key of every task."""

import dataclasses
import inspect

from mkdocs.structure.files import File, Files

from imagetext.commands import VERBS
from imagetext.commands.program import Program
from imagetext.task import Task, all_tasks
from imagetext.training.config_files import argument_meanings, describe_config


def on_files(files: Files, config) -> Files:
    """Add the generated pages."""
    pages = {"reference/commands.md": commands_page()}
    pages |= {f"reference/{name}.md": keys_page(task) for name, task in all_tasks().items()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def commands_page() -> str:
    """The help of every command."""
    program = Program("imagetext", VERBS, "")
    parts = ["# Commands", "`imagetext VERB --help` prints the same."]
    for verb, function in VERBS.items():
        summary = inspect.getdoc(function).splitlines()[0]
        parts += [f"## {verb}", summary, f"```text\n{program.parser(verb).format_help()}\n```"]
    return "\n\n".join(parts) + "\n"


def keys_page(task: Task) -> str:
    """Every key of a task's configuration with default and meaning, in a table for each section."""
    kind = task.config_class
    meanings = argument_meanings(kind)
    parts = [
        f"# Configuration keys: {task.title.lower()}",
        f"Every key of a configuration with `task: {task.name}`. In a YAML file, sections are"
        " nested; on the command line, write `--section.key VALUE`.",
    ]
    rows = describe_config(kind)
    for field in dataclasses.fields(kind):
        keys = [row for row in rows if row[0].startswith(f"{field.name}.")]
        if not keys:
            continue
        table = ["| key | default | meaning |", "|---|---|---|"]
        table += [f"| `{key}` | `{default}` | {_cell(meaning)} |" for key, default, meaning in keys]
        parts += [f"## {field.name}", meanings.get(field.name, ""), "\n".join(table)]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
