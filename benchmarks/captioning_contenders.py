"""The contenders of benchmarks/captioning.py: training, decoding and latency of one of them."""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import ROOT

TWIN = Path(__file__).with_name("captioning_twin.py")
#: The sizes of Flickr8k, for random data.
VOCABULARY, CAPTIONS, MEAN_LENGTH, LONGEST = 2920, 5, 11, 24
CAPTION_LENGTH = 12
#: gru_merge_flat: numbers per photo, different photos, and most photos in a pass of the generator.
FLAT_WIDTH, DIFFERENT_PHOTOS, GENERATOR_PHOTOS = 14 * 14 * 2048, 32, 32


def captioning_config(kind: str, options):
    """A configuration of configs/captioning, with the data that the options name."""
    from imagetext.captioning.config import CaptioningConfig
    from imagetext.training.config_files import load_config

    overrides = {"data.root": options.root, "data.batch_size": options.batch_size}
    if kind.endswith("_flat"):
        overrides |= {"data.root": None, "data.image_output": "flat"}
    path = ROOT / "configs" / "captioning" / f"{kind.removesuffix('_flat')}.yaml"
    return load_config(CaptioningConfig, path, overrides)


def captioning_data(config, options):
    """The photos and captions of the data folder, or random ones of the same sizes."""
    import numpy as np

    from imagetext.captioning.data import CaptionGroups, CaptioningData, load
    from imagetext.captioning.vocabulary import WordVocabulary

    class RandomPhotos:
        shape = {"grid": (9, 9, 1280), "pooled": (1280,), "flat": (FLAT_WIDTH,)}[
            config.data.image_output
        ]
        dtype, identity = np.dtype(np.float32), ("random",)
        count = DIFFERENT_PHOTOS if config.data.image_output == "flat" else options.photos
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
        groups = CaptionGroups(np.arange(options.photos), np.arange(count).reshape(-1, CAPTIONS))
        data = CaptioningData(
            config.data, None, {}, {"train": groups}, RandomPhotos(), [], words, tokens,
            np.ones(options.photos, bool),
        )  # fmt: skip
        chosen = slice(None)
    groups = data.groups["train"]
    data.groups = {"train": CaptionGroups(groups.photo[chosen], groups.caption[chosen])}
    return data


def measure_training(kind: str, name: str, options) -> dict:
    """Train one contender for two passes and time the second."""
    import dataclasses

    import keras
    import numpy as np

    from imagetext.captioning import models
    from imagetext.captioning.textbook import textbook_batches, textbook_model
    from imagetext.captioning.train import WordLoss
    from imagetext.training.fit import model_scope
    from imagetext.training.optimizer import adamw

    is_imagetext = name.startswith(("float32", "bfloat16"))
    if kind.endswith("_flat") and not is_imagetext:
        options.photos = min(options.photos, GENERATOR_PHOTOS)
    if match := re.search(r"(a|\d+) photos? per step", name):
        options.batch_size = 1 if match[1] == "a" else int(match[1])
    config = captioning_config(kind, options)
    data = captioning_data(config, options)
    captions = int((data.groups["train"].caption >= 0).sum())
    if name.startswith("torch"):
        return run_torch_twin(data, config, options, grouped="," in name)
    precision = "mixed_bfloat16" if name.startswith("bfloat16") else "float32"
    # The baseline need not be deterministic.
    train_config = dataclasses.replace(
        config.train, precision=precision, deterministic=is_imagetext
    )
    with model_scope(train_config):
        model = models.build(config.model, len(data.vocabulary), data.photos.shape)
    loss, metrics = "categorical_crossentropy", []
    if is_imagetext:
        loss = WordLoss(config.loss.label_smoothing)
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="token_accuracy")]
    trained = model if is_imagetext else textbook_model(model)
    trained.compile(adamw(1e-4, 1000), loss=loss, weighted_metrics=metrics)
    samples = int((data.tokens[data.groups["train"].caption] != 0).sum()) + captions

    def batches(epoch: int) -> dict:
        if is_imagetext:
            return {"x": data.batches("train", seed=0, epoch=epoch)}
        if name == "tf.data":
            size = samples * options.batch_size // len(data.groups["train"])
            return {"x": textbook_batches(data, "train", size)}
        steps = -(-len(data.groups["train"]) // options.batch_size)
        return {"x": prefixes(data, options.batch_size), "steps_per_epoch": steps}

    for epoch in range(2):
        stop = start_clock()
        history = trained.fit(**batches(epoch), shuffle=False, verbose=0)
        result = stop()
    assert np.isfinite(history.history["loss"][0])
    result |= {"captions": captions, "parameters": count_parameters(model)}
    return result | {"samples_or_slots": count_slots(data) if is_imagetext else samples}


def prefixes(data, photos: int):
    """The generator of the tutorials: every prefix of every caption of some photos, in Python."""
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


def count_slots(data) -> int:
    """The number of words and of padding in a pass."""
    return sum(truth.shape[0] * truth.shape[1] * truth.shape[2]
               for _, truth, _ in data.batches("train", seed=0, epoch=1))  # fmt: skip


def run_torch_twin(data, config, options, grouped: bool) -> dict:
    """Run captioning_twin.py in its own Python, on the batches of imagetext."""
    import numpy as np

    parts = {"image": [], "texts": [], "truth": []}
    for inputs, truth, _ in data.batches("train", seed=0, epoch=0):
        image = inputs["image"].numpy().astype(np.float16)
        parts["image"].append(image.reshape(len(image), -1, image.shape[-1]))
        for key, ids in (("texts", inputs["texts"]), ("truth", truth)):
            longer = config.text.longest + 1 - ids.shape[2]
            parts[key].append(np.pad(ids.numpy(), ((0, 0), (0, 0), (0, longer))))
    sizes = {key: getattr(config.model, key) for key in ("width", "dropout", "input_dropout")}
    sizes |= {"words": len(data.vocabulary), "photos_per_step": options.batch_size}
    sizes["label_smoothing"] = config.loss.label_smoothing
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, **{key: np.concatenate(each) for key, each in parts.items()}, **sizes)
        del data, parts
        command = [options.torch, str(TWIN), str(path), *["--grouped"] * grouped]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        sys.exit(f"{options.torch}: the twin failed; name a Python that has PyTorch with --torch")
    return json.loads(process.stdout.splitlines()[-1])


def open_model(kind: str, options):
    """The model of a run and its data; or a random model that produces CAPTION_LENGTH words."""
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
    config = dataclasses.replace(
        config, text=dataclasses.replace(config.text, longest=CAPTION_LENGTH)
    )
    return CaptioningModel(model, config, data.vocabulary), data


def measure_decoding(kind: str, name: str, options) -> dict:
    """Caption the same photos twice with one contender and time the second pass."""
    from imagetext.captioning.config import DecodingConfig

    captioner, data = open_model(kind, options)
    if captioner is None:
        return {}
    beam = name == "beam of 5"
    count = min(len(data.groups["train"]), 8 * options.batch_size if beam else 8)
    numbers = data.groups["train"].photo[:count]
    image, _ = data.photos.fetch(numbers)

    def with_beams() -> list[int]:
        lengths = []
        for start in range(0, count, options.batch_size):
            batch = captioner.captions(image[start:][: options.batch_size], DecodingConfig(beams=5))
            lengths += [len(captions[0].ids) for captions in batch]
        return lengths

    loop = predict_loop(captioner)

    def with_loop() -> list[int]:
        return [len(loop(photo)) for photo in image]

    run = with_beams if beam else with_loop
    run()
    stop = start_clock()
    lengths = run()
    return stop() | {"captions": count, "words_and_end": statistics.mean(lengths)}


def predict_loop(captioner) -> Callable:
    """The loop of the tutorials: a function from a photo to the ids of its caption."""
    import numpy as np

    from imagetext.captioning.textbook import textbook_model

    merging = captioner.config.model.kind == "gru_merge"
    model = textbook_model(captioner.model) if merging else captioner.model
    longest, end = captioner.config.text.longest, captioner.vocabulary.end

    def generate(photo) -> list[int]:
        ids = []
        while len(ids) <= longest and end not in ids:
            prefix = np.zeros((1, longest + 1), np.int32)
            prefix[0, : len(ids) + 1] = [captioner.vocabulary.start, *ids]
            inputs = {"image": photo[None]}
            inputs |= {"prefix": prefix} if merging else {"texts": prefix[None]}
            probabilities = model.predict(inputs, verbose=0)[0]
            next_word = probabilities if merging else probabilities[0, len(ids)]
            ids.append(int(np.argmax(next_word)))
        return ids

    return generate


def measure_latency(kind: str, name: str, options) -> dict:
    """The median and the 95th percentile of the time for a single photo, in milliseconds."""
    import numpy as np
    import tensorflow as tf

    from imagetext.captioning.config import DecodingConfig

    captioner, data = open_model(kind, options)
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
            decoded = captioner.decode(tower.encode_in_graph(photos), config)
            return captioner.vocabulary.decode(decoded.tokens)

        runs = [lambda photo=photo: caption(tf.constant([photo])).numpy() for photo in photos]
    else:
        image, _ = data.photos.fetch(numbers)
        runs = [lambda each=each: captioner.captions(each[None], config) for each in image]
    runs[0](), runs[0]()
    times, stop = [], start_clock()
    for _ in range(-(-100 // len(runs))):
        for run in runs:
            start = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - start))
    median, p95 = np.percentile(times, [50, 95])
    return stop() | {"captions": len(times), "median_ms": median, "p95_ms": p95}


def start_clock() -> Callable[[], dict]:
    """Start to measure; the returned function gives the wall-clock and CPU time since then."""
    cpu, start = time.process_time(), time.perf_counter()
    return lambda: {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }


def count_parameters(model) -> int:
    return sum(int(variable.shape.num_elements()) for variable in model.trainable_variables)
