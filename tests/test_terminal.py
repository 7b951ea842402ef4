"""TensorFlow is imported without its start-up messages and without unneeded modules."""

import subprocess
import sys

PROGRAM = """
import gc, sys
from imagetext.terminal import quiet_tensorflow
quiet_tensorflow()
assert "tensorflow" in sys.modules and gc.isenabled() and gc.get_freeze_count() > 100_000
assert not [name for name in sys.modules if name.startswith("matplotlib")]
from keras.src.visualization import plot_bounding_box_gallery, plot_image_gallery
assert plot_image_gallery.plt.figure().__class__.__name__ == "Figure"
assert plot_bounding_box_gallery.patches.Patch(color="red")
import matplotlib.pyplot
assert matplotlib.pyplot.figure is plot_image_gallery.plt.figure
"""


def test_tensorflow_is_imported_without_messages_and_without_matplotlib():
    environment = {"MPLBACKEND": "agg", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "cuda" not in done.stderr.lower() and "AVX" not in done.stderr
