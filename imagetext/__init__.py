"""imagetext: match, caption and find images and sentences with Keras 3.

    import imagetext

    run = imagetext.train("itm/cnn", {"data.root": "flickr8k", "train.epochs": 3})
    report = imagetext.evaluate(run)
    model = imagetext.load(run)
    model.predict("photo.jpg", ["A dog runs", "A cat sleeps"])

Importing this package is quick: TensorFlow is imported by the functions that need it.
"""

from pathlib import Path
from typing import Any

__version__ = "0.2.0.dev0"

# In a checkout the tasks lie beside this folder (itm/, captioning/, ...); a wheel has them inside.
# Either way they are imported as imagetext.itm, imagetext.captioning, ...
if (Path(__file__).parents[1] / "setup.cfg").is_file():
    __path__.append(str(Path(__file__).parents[1]))

#: The public API, and the module that defines each name.
_PUBLIC = {
    **dict.fromkeys(
        [
            "build_index",
            "caption",
            "classify",
            "compare",
            "evaluate",
            "export",
            "list_configs",
            "list_encoders",
            "load",
            "predict",
            "search",
            "train",
        ],
        "imagetext.api",
    ),
    "DataError": "imagetext.errors",
    "UserError": "imagetext.errors",
    "Run": "imagetext.training.run",
    "main": "imagetext.commands",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'imagetext' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
