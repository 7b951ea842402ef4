"""imagetext: match, caption and find images and sentences.

    import imagetext
    run = imagetext.train("itm/cnn", {"data.root": "flickr8k", "train.epochs": 3})

Importing this package stays light: TensorFlow is imported by the functions that need it.
"""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout, the tasks lie beside this folder (itm/, captioning/, ...): an installed wheel has
# them inside it. Either way they are imported as imagetext.itm, imagetext.captioning, ...
if (Path(__file__).parents[1] / "setup.cfg").is_file():
    __path__.append(str(Path(__file__).parents[1]))


def __getattr__(name: str):
    from imagetext.commands import verbs

    if not name.startswith("__") and hasattr(verbs, name):
        return getattr(verbs, name)
    raise AttributeError(f"module 'imagetext' has no attribute {name!r}")
