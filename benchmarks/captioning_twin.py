"""`gru_attention` written with PyTorch in the ordinary way.

`captioning.py` runs it in an environment that has PyTorch:

    python captioning_twin.py data.npz --passes 2 [--grouped]

Each caption is a sample, in random order, padded to the longest of its batch. With `--grouped`, the
captions of a photo stay together, in the same batches as those of imagetext.
"""

import argparse
import json
import time

import numpy as np

try:
    import torch
except ImportError:
    raise SystemExit("the twin needs PyTorch; name a Python that has it with --torch") from None
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Captioner(nn.Module):
    def __init__(self, channels: int, words: int, width: int, dropout: float, input_dropout: float):
        super().__init__()
        self.input_dropout, self.dropout = nn.Dropout(input_dropout), nn.Dropout(dropout)
        self.project, self.norm = nn.Linear(channels, width), nn.LayerNorm(width)
        self.words = nn.Embedding(words, width)
        self.first_start, self.second_start = nn.Linear(width, width), nn.Linear(width, width)
        self.first = nn.GRU(width, width, batch_first=True)
        self.second = nn.GRU(2 * width, width, batch_first=True)
        self.ask = nn.Linear(width, width)
        self.gather = nn.Linear(3 * width, width)
        self.logits = nn.Linear(width, words)

    def forward(self, image, texts):
        """image [b, cells, channels], texts [b k, t] -> logits [b k, t, words]"""
        cells = self.dropout(self.norm(self.project(self.input_dropout(image))))
        mean = cells.mean(dim=1)
        starts = torch.tanh(self.first_start(mean)), torch.tanh(self.second_start(mean))
        count = len(texts) // len(image)
        if count > 1:
            cells = cells.repeat_interleave(count, dim=0)
            starts = [start.repeat_interleave(count, dim=0) for start in starts]
        words = self.dropout(self.words(texts))
        hidden, _ = self.first(words, starts[0][None])
        scores = self.ask(hidden) @ cells.transpose(1, 2) * cells.shape[-1] ** -0.5
        attended = scores.softmax(dim=-1) @ cells
        state, _ = self.second(torch.cat([hidden, attended], dim=-1), starts[1][None])
        output = torch.tanh(self.gather(torch.cat([state, attended, words], dim=-1)))
        return self.logits(self.dropout(output))


class Captions(Dataset):
    def __init__(self, image, texts, truth):
        """image [n, cells, channels], texts and truth [n, k, t]"""
        self.image, self.texts, self.truth = image, texts, truth
        self.photo, self.caption = np.nonzero(truth[:, :, 0])

    def __len__(self):
        return len(self.photo)

    def __getitem__(self, number):
        photo, caption = self.photo[number], self.caption[number]
        rows = self.texts[photo, caption], self.truth[photo, caption]
        return self.image[photo].astype(np.float32), *rows


class Grouped(Captions):
    def __len__(self):
        return len(self.image)

    def __getitem__(self, number):
        return self.image[number].astype(np.float32), self.texts[number], self.truth[number]


def collate(samples):
    image, texts, truth = (torch.from_numpy(np.stack(each)) for each in zip(*samples, strict=True))
    texts, truth = texts.flatten(0, -2).long(), truth.flatten(0, -2).long()
    longest = int((truth != 0).sum(dim=1).max())
    return image, texts[:, :longest], truth[:, :longest]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="the file that captioning.py writes")
    parser.add_argument("--passes", type=int, default=2, help="the last is timed")
    parser.add_argument(
        "--grouped", action="store_true", help="keep the captions of a photo together"
    )
    options = parser.parse_args()
    with np.load(options.data) as file:
        data = {name: file[name] for name in file.files}
    arrays = data["image"], data["texts"], data["truth"]
    captions = int((data["truth"][:, :, 0] != 0).sum())
    photos = int(data["photos_per_step"])
    if options.grouped:
        loader = DataLoader(Grouped(*arrays), photos, collate_fn=collate)
    else:
        batch = photos * data["texts"].shape[1]
        loader = DataLoader(Captions(*arrays), batch, shuffle=True, collate_fn=collate)
    rates = float(data["dropout"]), float(data["input_dropout"])
    model = Captioner(data["image"].shape[-1], int(data["words"]), int(data["width"]), *rates)
    loss_function = nn.CrossEntropyLoss(
        ignore_index=0, label_smoothing=float(data["label_smoothing"])
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def train_one_pass() -> float:
        for image, texts, truth in loader:
            optimizer.zero_grad()
            loss = loss_function(model(image, texts).flatten(0, 1), truth.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return loss.item()

    for _ in range(options.passes):
        cpu, start = time.process_time(), time.perf_counter()
        loss = train_one_pass()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    result = {"captions": captions, "seconds": seconds, "cpu_seconds": cpu, "loss": loss}
    result["parameters"] = sum(each.numel() for each in model.parameters())
    result["torch"] = f"{torch.__version__}, {torch.get_num_threads()} threads"
    print(json.dumps(result))


if __name__ == "__main__":
    main()
