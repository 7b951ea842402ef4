"""Image-text matching on Flickr8k: does this caption describe this photo?

    python ITM_Classifier.py                                   # the built-in sample, no data needed
    python ITM_Classifier.py --images /data/flickr8k-resised   # the course's folder

Set IMAGES_PATH below (or the environment variable IMAGES_PATH, or --images) to the folder of
photos. The lists flickr8k.{Train,Dev,Test}Images.txt and the embeddings
flickr8k.cmp9137.sentence_transformers.pkl are expected in the folder above the photos.

Edit the attributes, or subclass and override a method. None keeps the value of the configuration
(itm/cnn for real data, itm/sample for the built-in sample).
"""

import argparse
import os
import sys
from pathlib import Path

from imagetext.errors import UserError
from imagetext.pipelines.records import LABELS
from imagetext.terminal import quiet_tensorflow


class ITM_DataLoader:
    """Reads the lists, photos and sentence embeddings; prints a few of them."""

    IMAGES_PATH = os.environ.get("IMAGES_PATH")  # e.g. "/home/me/flickr8k/flickr8k-resised"
    CONFIG = None  # a YAML file, or the name of a configuration
    BATCH_SIZE = None  # photos per step, each with all its captions
    IMAGE_SIZE = None  # (112, 112)
    NUM_SAMPLES = 5  # rows of the data that are printed

    def __init__(self):
        quiet_tensorflow()
        self.config = self.configuration()
        self.BATCH_SIZE = self.config.data.batch_size
        self.IMAGE_SIZE = (self.config.data.image_size,) * 2
        self.data = self.load_data()
        self.train_ds = self.data.batches("train", seed=self.config.train.seed)
        self.val_ds = self.data.batches("dev")
        # Some copies of Flickr8k come without the test captions: dev is scored instead.
        self.test_split = "test" if "test" in self.data.groups else "dev"
        self.test_ds = self.data.batches(self.test_split)
        self.print_data_samples()

    def configuration(self):
        """The configuration file, overridden by every attribute that is not None."""
        from imagetext.itm.config import ITMConfig
        from imagetext.training.config_files import load_config, load_run_config
        from imagetext.training.run import open_run

        attributes = {
            "data.root": self.IMAGES_PATH or None,
            "data.batch_size": self.BATCH_SIZE,
            "data.image_size": self.IMAGE_SIZE and self.IMAGE_SIZE[0],
            "train.epochs": getattr(self, "epochs", None),
            "train.learning_rate": getattr(self, "learning_rate", None),
            "train.weight_decay": getattr(self, "weight_decay", None),
            "train.seed": getattr(self, "seed", None),
            "model.head": getattr(self, "head", None),
        }
        resumed = getattr(self, "resume_from", None)
        if resumed:  # an interrupted run keeps its own configuration
            return load_run_config(ITMConfig, open_run(resumed))
        chosen = {key: value for key, value in attributes.items() if value is not None}
        if self.IMAGE_SIZE and self.IMAGE_SIZE[0] != self.IMAGE_SIZE[1]:
            raise UserError(f"IMAGE_SIZE: must be square, got {self.IMAGE_SIZE}")
        default = "itm/cnn" if self.IMAGES_PATH else "itm/sample"
        return load_config(ITMConfig, self.CONFIG or default, chosen)

    def load_data(self):
        """Load and check all splits: every problem is reported before training begins."""
        from imagetext.itm.train import load_for_training

        return load_for_training(self.config)

    def print_data_samples(self):
        """Print a few training rows, and the shapes that reach the model."""
        print(f"Data: {self.data.source.kind} at {self.data.source.root}")
        for split, groups in self.data.groups.items():
            print(f"  {split:5} {groups.rows:6,} rows, {len(set(groups.photo)):,} photos")
        for record in self.data.records["train"][: self.NUM_SAMPLES]:
            print(
                f'Caption: "{record.texts[0]}"  Label: {record.label}  Image: {record.image.name}'
            )
        inputs, truth, _ = next(iter(self.train_ds))
        photos, texts = inputs["image"], inputs["texts"]
        print(f"A batch: photos {photos.shape}, texts {texts.shape}, labels {truth.shape}")


class ITM_Classifier(ITM_DataLoader):
    """Builds, trains and tests the classifier; everything is written to one folder under runs/."""

    epochs = None
    learning_rate = None
    weight_decay = None
    seed = None
    head = None  # "concat", "additive" (the stock head) or "joint"
    class_names = LABELS  # in the order of the model's outputs
    resume_from = None  # the folder of an interrupted run

    def __init__(self):
        super().__init__()
        self.epochs = self.config.train.epochs
        self.learning_rate = self.config.train.learning_rate
        self.train_classifier_model()
        self.test_classifier_model()

    def build_classifier_model(self, model_config):
        """The Keras model: photos uint8 [b, h, w, 3] and embeddings [b, k, 384] -> [b, k, 2].

        Override it to try another network. It is also called for the text-only and image-only
        controls (see model_config.inputs).
        """
        from imagetext.itm import models

        return models.build(model_config, self.config.data, self.config.text)

    def train_classifier_model(self):
        """Train, and save the model of the best epoch in the run's folder."""
        from imagetext.itm.train import resume_run, train

        if self.resume_from:
            self.run = resume_run(self.resume_from, self.data, self.build_classifier_model)
        else:
            self.run = train(
                self.config,
                name="ITM_Classifier",
                data=self.data,
                build=self.build_classifier_model,
            )

    def test_classifier_model(self):
        """Predict the test split once: sample predictions, accuracy, Keras' metrics, the report."""
        import keras

        from imagetext.itm.evaluate import evaluate, predict_split

        self.classifier_model = keras.saving.load_model(self.run.model_file)
        predictions = predict_split(self.classifier_model, self.data, self.test_split)
        self.print_sample_predictions(predictions)
        says_match = predictions.probability >= 0.5
        correct = int((says_match == predictions.is_match).sum())
        rows, split = len(says_match), self.test_split.upper()
        print(f"\n{split} accuracy: {correct} of {rows} correct = {correct / rows:.4f}")
        self.report = evaluate(self.run, self.test_split, self.data, predictions=predictions)
        figures = self.report.values["about"]["keras evaluation"]
        print("Keras metrics: " + "  ".join(f"{name} {figures[name]:.4f}" for name in figures))
        print(f"\n{self.report.summary}")

    def print_sample_predictions(self, predictions):
        """Print rows from all over the test split, with both probabilities."""
        import numpy as np

        print()
        count = len(predictions.probability)
        for row in np.linspace(0, count - 1, min(count, 2 * self.NUM_SAMPLES)).astype(int):
            match = predictions.probability[row]
            answer = "Match" if match >= 0.5 else "No-match"
            truth = self.class_names[0 if predictions.is_match[row] else 1]
            image = Path(predictions.image[row]).name
            print(
                f'Caption: "{predictions.caption[row]}"  Prediction: {answer} (match {match:.3f},'
                f" no-match {1 - match:.3f})  Truth: {truth}  Image: {image}"
            )


def main(arguments: list[str] | None = None) -> int:
    """Read the options, set the attributes, and run."""
    about, _, _ = __doc__.partition("\n\nEdit")
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", help="folder of the photos; the lists are expected beside it")
    parser.add_argument("--epochs", type=int, help="number of epochs")
    parser.add_argument("--config", help="a YAML file, or a name such as itm/joint")
    parser.add_argument("--resume", metavar="RUN", help="folder of an interrupted run to continue")
    options = parser.parse_args(arguments)
    attributes = {
        "IMAGES_PATH": options.images,
        "epochs": options.epochs,
        "CONFIG": options.config,
        "resume_from": options.resume,
    }
    chosen = {name: value for name, value in attributes.items() if value is not None}
    try:
        type("ITM_Classifier", (ITM_Classifier,), chosen)()
    except UserError as error:
        print(f"ITM_Classifier: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Continue an interrupted run with --resume RUN", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
