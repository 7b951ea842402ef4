"""How quickly captioning trains, and finds captions, against what the tutorials do.

    python benchmarks/captioning.py --root flickr8k --torch ../torch/bin/python
    python benchmarks/captioning.py --parts training --rows gru_merge_flat

Training, of the networks of configs/captioning, 32 photos with all their captions a step (32 x 5
captions), data included. gru_merge against its textbook: a Python generator gives every prefix of
every caption with a one-hot next word to the same network; once with the photos of a step of ours,
once with one photo a step as the tutorials have it; and the same by tf.data, which is
imagetext.captioning.textbook.
gru_attention against a twin in PyTorch (captioning_twin.py), if there is one:
a caption a sample, and, stricter, in our very batches.

gru_merge_flat is gru_merge on wide features: all 14 x 14 x 2,048 = 401,408 numbers that ResNet152
gives of a photo of 448 pixels, into a Dense of 256. Features and captions are random, those of 32
photos over and over, whatever the root, since only speed is measured; 24 GB do not hold a step of
the generator's with 32 photos. What none of them can do quicker: five captions of eleven words, and
their ends, are 60 samples, for each of which the generator sends the photo through the Dense. That
is 4 x 60 x 401,408 x 256 = 24.7 GFLOP a photo, forwards and for the gradient of the weights, and
ours, one pass a photo, 0.41. To these come GRU and softmax, 3.8 GFLOP of the generator's and, with
the padding of a step, 0.7 of ours. AdamW reads weights, gradient and two moments and writes all but
the gradient: 7 x 411 MB = 2.9 GB a step, for one photo or for 32. So against one photo a step the
ratio is 26x as far as arithmetic decides (60x for the Dense alone) and 32x as far as memory does,
64x with 64 photos a step; what the generator copies in Python comes on top.

Decoding: beams of 5 for 32 photos in one graph, against the tutorials' loop: greedy, a photo at a
time, the whole prefix through `model.predict` for every word. Both say twelve words, since the end
is made impossible before (weights are random); with `--run` what that run says.

Latency: one photo alone, features given; and, with a root or a run, from the bytes of a JPEG.

Contenders take turns, each in a process of its own; medians over the repeats. Ratios are to the
opponent of each group, marked 1.0x; CPU time is told because what else a machine does disturbs the
clock. Without `--root` features and captions are random ones of the same sizes.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Python looks for `captioning` beside this file first, and would find this file.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

#: Parts -> what is compared, the opponent first.
PARTS = {
    "training": {
        "gru_merge": ("generator", "generator, a photo a step", "tf.data", "float32", "bfloat16"),
        "gru_merge_flat": (
            "generator, a photo a step",
            "generator, 4 photos a step",
            "float32",
            "float32, 64 photos a step",
            "bfloat16",
        ),
        "gru_attention": ("torch", "torch, our batches", "float32", "bfloat16"),
    },
    "decoding": {
        "gru_merge": ("predict each word", "beam of 5"),
        "gru_attention": ("predict each word", "beam of 5"),
    },
    "latency": {"gru_attention": ("greedy", "beam of 5", "beam of 5, from JPEG")},
}
CONFIGS = Path(__file__).parent.parent / "configs" / "captioning"
TWIN = Path(__file__).with_name("captioning_twin.py")
#: Of Flickr8k, for random data.
VOCABULARY, CAPTIONS, MEAN_LENGTH, LONGEST = 2920, 5, 11, 24
SAID = 12
#: Of gru_merge_flat: numbers a photo, different photos, and photos of a pass of the generator's.
FLAT, DIFFERENT, FEW = 14 * 14 * 2048, 32, 32
ROWS = list(dict.fromkeys(kind for kinds in PARTS.values() for kind in kinds))


def captioning_config(kind: str, options):
    """The one of configs/captioning, on the data asked for."""
    from imagetext.captioning.config import CaptioningConfig
    from imagetext.training.config_files import load_config

    given = {"data.root": options.root, "data.batch_size": options.batch_size}
    if kind.endswith("_flat"):
        given |= {"data.root": None, "data.image_output": "flat"}
    path = CONFIGS / f"{kind.removesuffix('_flat')}.yaml"
    return load_config(CaptioningConfig, path, given)


def captioning_data(config, options):
    """Photos and captions of the root of `config`; or random ones of the same sizes."""
    import numpy as np

    from imagetext.captioning.data import Captioned, CaptioningData, load
    from imagetext.captioning.vocabulary import WordVocabulary

    class RandomPhotos:
        shape = {"grid": (9, 9, 1280), "pooled": (1280,), "flat": (FLAT,)}[config.data.image_output]
        dtype, identity = np.dtype(np.float32), ("random",)
        count = DIFFERENT if config.data.image_output == "flat" else options.photos
        rows = np.random.default_rng(0).random((count, *shape), np.float32)

        def fetch(self, numbers):
            return self.rows[np.asarray(numbers) % self.count], np.ones(len(numbers), bool)

    if config.data.root:
        data = load(config, ("train",))
        chosen = slice(options.photos)
    else:
        rng, count = np.random.default_rng(0), options.photos * CAPTIONS
        words = WordVocabulary(config.text, [f"word{number}" for number in range(VOCABULARY - 4)])
        length = np.clip(rng.poisson(MEAN_LENGTH, count), 1, LONGEST)[:, None]
        tokens = rng.integers(4, VOCABULARY, (count + 1, LONGEST), dtype=np.int32)
        tokens[:-1] *= np.arange(LONGEST) < length
        tokens[-1] = 0
        groups = Captioned(np.arange(options.photos), np.arange(count).reshape(-1, CAPTIONS))
        data = CaptioningData(
            config.data, None, {}, {"train": groups}, RandomPhotos(), [], words, tokens,
            np.ones(options.photos, bool),
        )  # fmt: skip
        chosen = slice(None)
    groups = data.groups["train"]
    data.groups = {"train": Captioned(groups.photo[chosen], groups.caption[chosen])}
    return data


def training(kind: str, name: str, options) -> dict:
    """Train one contender; the second pass is timed."""
    import dataclasses

    import keras
    import numpy as np

    from imagetext.captioning import models
    from imagetext.captioning.textbook import textbook_batches, textbook_model
    from imagetext.captioning.train import WordLoss
    from imagetext.training.fit import building
    from imagetext.training.optimizer import adamw

    ours = name.startswith(("float32", "bfloat16"))
    if kind.endswith("_flat") and not ours:
        options.photos = min(options.photos, FEW)
    if told := re.search(r"(a|\d+) photos? a step", name):
        options.batch_size = 1 if told[1] == "a" else int(told[1])
    config = captioning_config(kind, options)
    data = captioning_data(config, options)
    captions = int((data.groups["train"].caption >= 0).sum())
    if name.startswith("torch"):
        return torch_twin(data, config, options, grouped="," in name)
    precision = "mixed_bfloat16" if name.startswith("bfloat16") else "float32"
    # The opponent need not be the same bit for bit every time.
    how = dataclasses.replace(config.train, precision=precision, deterministic=ours)
    with building(how):
        model = models.build(config.model, len(data.vocabulary), data.photos.shape)
    loss = "categorical_crossentropy"
    metrics = []
    if ours:
        loss = WordLoss(config.loss.label_smoothing)
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="token_accuracy")]
    trained = model if ours else textbook_model(model)
    trained.compile(adamw(1e-4, 1000), loss=loss, weighted_metrics=metrics)
    samples = int((data.tokens[data.groups["train"].caption] != 0).sum()) + captions

    def batches(epoch: int) -> dict:
        if ours:
            return {"x": data.batches("train", seed=0, epoch=epoch)}
        if name == "tf.data":
            size = samples * options.batch_size // len(data.groups["train"])
            return {"x": textbook_batches(data, "train", size)}
        steps = -(-len(data.groups["train"]) // options.batch_size)
        return {"x": prefixes(data, options.batch_size), "steps_per_epoch": steps}

    for epoch in range(2):
        clock = _clock()
        history = trained.fit(**batches(epoch), shuffle=False, verbose=0)
        found = clock()
    assert np.isfinite(history.history["loss"][0])
    found |= {"captions": captions, "parameters": _parameters(model)}
    return found | {"samples_or_slots": slots(data) if ours else samples}


def prefixes(data, photos: int):
    """The tutorials' generator: every prefix of every caption of so many photos, in Python."""
    import numpy as np
    from keras.utils import pad_sequences, to_categorical

    groups, start, end = data.groups["train"], data.vocabulary.start, data.vocabulary.end
    most = data.vocabulary.config.longest + 2
    longest = min(int((data.tokens != 0).sum(axis=1).max()) + 2, most) - 1
    while True:
        for first in range(0, len(groups), photos):
            image, prefix, answer = [], [], []
            for number in range(first, min(first + photos, len(groups))):
                photo = data.photos.fetch([groups.photo[number]])[0][0]
                for caption in groups.caption[number]:
                    words = [word for word in data.tokens[caption].tolist() if word]
                    sequence = [start, *words, end][:most] if words else []
                    for place in range(1, len(sequence)):
                        image.append(photo)
                        prefix.append(pad_sequences([sequence[:place]], longest, padding="post")[0])
                        answer.append(to_categorical(sequence[place], len(data.vocabulary)))
            yield {"image": np.array(image), "prefix": np.array(prefix)}, np.array(answer)


def slots(data) -> int:
    """Words and padding of a pass."""
    return sum(truth.shape[0] * truth.shape[1] * truth.shape[2]
               for _, truth, _ in data.batches("train", seed=0, epoch=1))  # fmt: skip


def torch_twin(data, config, options, grouped: bool) -> dict:
    """What captioning_twin.py says in its own Python, given our batches in a file."""
    import numpy as np

    parts = {"image": [], "texts": [], "truth": []}
    for inputs, truth, _ in data.batches("train", seed=0, epoch=0):
        image = inputs["image"].numpy().astype(np.float16)
        parts["image"].append(image.reshape(len(image), -1, image.shape[-1]))
        for key, ids in (("texts", inputs["texts"]), ("truth", truth)):
            longer = config.text.longest + 1 - ids.shape[2]
            parts[key].append(np.pad(ids.numpy(), ((0, 0), (0, 0), (0, longer))))
    sizes = {key: getattr(config.model, key) for key in ("width", "dropout", "input_dropout")}
    sizes |= {"words": len(data.vocabulary), "photos_a_step": options.batch_size}
    sizes["label_smoothing"] = config.loss.label_smoothing
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, **{key: np.concatenate(each) for key, each in parts.items()}, **sizes)
        del data, parts
        command = [options.torch, str(TWIN), str(path), *["--grouped"] * grouped]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        sys.exit(f"{options.torch}: the twin failed -- give --torch a Python that has PyTorch")
    return json.loads(ran.stdout.splitlines()[-1])


def captioner_of(kind: str, options):
    """The run's captioner and its photos; or one of random weights that says SAID words."""
    import dataclasses

    import keras

    from imagetext.captioning import models
    from imagetext.captioning.predict import CaptioningModel

    if options.run:
        overrides = {"data.root": options.root} if options.root else {}
        captioner = CaptioningModel.load(options.run, overrides)
        if captioner.config.model.kind != kind:
            return None, None
        return captioner, captioning_data(captioner.config, options)
    config = captioning_config(kind, options)
    data = captioning_data(config, options)
    keras.utils.set_random_seed(0)
    model = models.build(config.model, len(data.vocabulary), data.photos.shape)
    kernel, bias = model.get_layer("logits").get_weights()
    bias[data.vocabulary.end] = -1e9
    model.get_layer("logits").set_weights([kernel, bias])
    model = keras.Model(model.input, model.output, name=f"captioner_{data.vocabulary.digest}")
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, longest=SAID))
    return CaptioningModel(model, config, data.vocabulary), data


def decoding(kind: str, name: str, options) -> dict:
    """Captions of the same photos by one contender; a second time is timed."""
    from imagetext.captioning.config import DecodingConfig

    captioner, data = captioner_of(kind, options)
    if captioner is None:
        return {}
    beam = name == "beam of 5"
    count = min(len(data.groups["train"]), 8 * options.batch_size if beam else 8)
    numbers = data.groups["train"].photo[:count]
    image, _ = data.photos.fetch(numbers)

    def ours() -> list[int]:
        said = []
        for start in range(0, count, options.batch_size):
            found = captioner.captions(image[start:][: options.batch_size], DecodingConfig(beams=5))
            said += [len(captions[0].ids) for captions in found]
        return said

    loop = predict_loop(captioner)

    def theirs() -> list[int]:
        return [len(loop(photo)) for photo in image]

    run = ours if beam else theirs
    run()
    clock = _clock()
    said = run()
    return clock() | {"captions": count, "words_and_end": statistics.mean(said)}


def predict_loop(captioner) -> Callable:
    """The tutorials' loop: a photo -> the ids of its caption, with the end if it comes."""
    import numpy as np

    from imagetext.captioning.textbook import textbook_model

    merging = captioner.config.model.kind == "gru_merge"
    model = textbook_model(captioner.model) if merging else captioner.model
    longest, end = captioner.config.text.longest, captioner.vocabulary.end

    def say(photo) -> list[int]:
        said = []
        while len(said) <= longest and end not in said:
            prefix = np.zeros((1, longest + 1), np.int32)
            prefix[0, : len(said) + 1] = [captioner.vocabulary.start, *said]
            inputs = {"image": photo[None]}
            inputs |= {"prefix": prefix} if merging else {"texts": prefix[None]}
            odds = model.predict(inputs, verbose=0)[0]
            said.append(int(np.argmax(odds if merging else odds[0, len(said)])))
        return said

    return say


def latency(kind: str, name: str, options) -> dict:
    """Milliseconds for one photo, many times: median and 95th percentile."""
    import numpy as np
    import tensorflow as tf

    from imagetext.captioning.config import DecodingConfig

    captioner, data = captioner_of(kind, options)
    if captioner is None:
        return {}
    config = DecodingConfig(beams=1 if name == "greedy" else 5)
    numbers = data.groups["train"].photo[: options.batch_size]
    if "JPEG" in name:
        if not (options.root or options.run):
            return {}
        tower = captioner.photo_tower
        photos = [data.photos.paths[number].read_bytes() for number in numbers]

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def caption(photos):
            found = captioner.decode(tower.in_graph(photos), config)
            return captioner.vocabulary.texts(found.tokens)

        runs = [lambda photo=photo: caption(tf.constant([photo])).numpy() for photo in photos]
    else:
        image, _ = data.photos.fetch(numbers)
        runs = [lambda each=each: captioner.captions(each[None], config) for each in image]
    runs[0](), runs[0]()
    times, clock = [], _clock()
    for _ in range(-(-100 // len(runs))):
        for run in runs:
            start = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - start))
    median, late = np.percentile(times, [50, 95])
    return clock() | {"captions": len(times), "median_ms": median, "p95_ms": late}


def _clock() -> Callable[[], dict]:
    cpu, start = time.process_time(), time.perf_counter()
    return lambda: {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }


def _parameters(model) -> int:
    return sum(int(variable.shape.num_elements()) for variable in model.trainable_variables)


def machine() -> str:
    """Its processors in words, and how busy they were with other things."""
    name = platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    return f"{os.cpu_count()} cores of {name}, load {os.getloadavg()[0]:.1f} at start"


def table(results: list[dict], part: str) -> str:
    """One line a contender: medians over repeats."""
    timed = part == "latency"
    heads = ["median ms", "p95 ms"] if timed else ["captions/s", "ratio"]
    lines = [f"| {part} | {' | '.join(heads)} | CPU s per 1,000 captions | by CPU time |"]
    lines.append("|---" * 5 + "|")
    for kind, names in PARTS[part].items():
        if not any((r["part"], r["kind"]) == (part, kind) for r in results):
            continue
        rows = {
            name: [r for r in results if (r["part"], r["kind"], r["name"]) == (part, kind, name)]
            for name in names
        }

        def median(name: str, of: Callable[[dict], float], rows: dict = rows) -> float:
            return statistics.median(map(of, rows[name]))

        def rate(row: dict) -> float:
            return row["captions"] / row["seconds"]

        def cost(row: dict) -> float:
            return 1000 * row["cpu_seconds"] / row["captions"]

        for name in (name for name in names if rows[name]):
            known = rows[names[0]] and not timed
            cells = [f"{median(name, rate):,.1f}"]
            cells.append(f"{median(name, rate) / median(names[0], rate):.1f}x" if known else "-")
            if timed:
                cells = [f"{median(name, lambda row, k=k: row[k]):.1f}" for k in
                         ("median_ms", "p95_ms")]  # fmt: skip
            cells.append(f"{median(name, cost):.2f}")
            cells.append(f"{median(names[0], cost) / median(name, cost):.1f}x" if known else "-")
            lines.append(f"| {kind}: {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", default=os.environ.get("IMAGETEXT_DATA"), help="Flickr8k")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="networks")
    parser.add_argument("--run", help="decode with this trained run, not with random weights")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has PyTorch, for the twin")
    parser.add_argument("--photos", type=int, default=320, help="photos of a training pass")
    parser.add_argument("--batch-size", type=int, default=32, help="photos a step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", default="captioning.json", help="where the figures go")
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        part, kind, name = options.only
        measure = {"training": training, "decoding": decoding, "latency": latency}[part]
        print(json.dumps(measure(kind, name, options)))
        return
    about = {
        "machine": machine(),
        "data": options.root or "random",
        "data of gru_merge_flat": f"random, {DIFFERENT} photos over and over",
        "run": options.run,
        "photos": options.photos,
        "photos_a_step": options.batch_size,
        "repeats": options.repeats,
    }
    if "training" in options.parts and "gru_attention" in options.rows and not options.torch:
        print("no --torch PYTHON: the twin in PyTorch is left out", file=sys.stderr)
    results = []
    for _ in range(options.repeats):
        for part in options.parts:
            for kind, names in PARTS[part].items():
                for name in names if kind in options.rows else ():
                    if name.startswith("torch") and not options.torch:
                        continue
                    own = [sys.executable, *sys.argv, "--only", part, kind, name]
                    ran = subprocess.run(own, stdout=subprocess.PIPE, text=True, check=True)
                    found = json.loads(ran.stdout.splitlines()[-1])
                    if not found:
                        continue
                    results.append({"part": part, "kind": kind, "name": name} | found)
                    print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    Path(options.json).write_text(json.dumps(about | {"results": results}, indent=2))
    print(f"{about['machine']}; data: {about['data']}")
    for part in options.parts:
        print(f"\n{table(results, part)}")
        if any((row["part"], row["kind"]) == (part, "gru_merge_flat") for row in results):
            print(f"\ngru_merge_flat: features and captions are {about['data of gru_merge_flat']}")


if __name__ == "__main__":
    main()
