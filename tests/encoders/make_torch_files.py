"""Write the small PyTorch files that test_torch_file.py reads; needs PyTorch.

python tests/encoders/make_torch_files.py
"""

from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def tensors() -> OrderedDict:
    """The same as `expected` in test_torch_file.py."""
    plain = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    shared = torch.arange(10, dtype=torch.float32)
    state = OrderedDict(
        plain=plain,
        transposed=plain.permute(2, 0, 1),
        stepped=shared[1::3],
        tail=shared[6:],
        halves=torch.arange(-3, 3, dtype=torch.float16) / 4,
        brain=torch.tensor([1.0, -2.5, 3.140625, 65536.0], dtype=torch.bfloat16),
        doubles=torch.tensor([0.1, -1e300], dtype=torch.float64),
        steps=torch.tensor(2**40 + 1),
        ints=torch.arange(-2, 2, dtype=torch.int32),
        shorts=torch.arange(-2, 2, dtype=torch.int16),
        signed=torch.arange(-2, 2, dtype=torch.int8),
        bytes=torch.arange(252, 256, dtype=torch.uint8),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    state._metadata = OrderedDict({"": {"version": 1}})
    return state


class Halves(torch.nn.Module):
    """Nested modules in half precision, with attributes that are not tensors."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
        self.scale = torch.nn.Parameter(torch.tensor(4.5))
        self.register_buffer("size", torch.tensor(224))
        self.steps: list[int] = [1, 2]
        self.text, self.nothing = "text", None

    def forward(self, x):
        for _ in self.steps:
            x = self.layers(x) * self.scale
        return x


def torchscript() -> torch.jit.ScriptModule:
    module = Halves()
    for number, value in enumerate(module.layers.state_dict().values()):
        value.copy_(torch.arange(value.numel()).reshape(value.shape) + 10 * number)
    module.layers.half()
    return torch.jit.script(module)


if __name__ == "__main__":
    torch.jit.save(torchscript(), HERE / "torch_script.pt")
    old = {"_use_new_zipfile_serialization": False}
    torch.save(tensors(), HERE / "torch_legacy.pth", **old)
    torch.save(tensors(), HERE / "torch_zip.pt")
    # The state dict of a network inside a training checkpoint.
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    for number, value in enumerate(network.state_dict().values()):
        value.fill_(number)
    saved = {"epoch": 3, "state_dict": network.state_dict()}
    torch.save(saved, HERE / "torch_checkpoint.pth", **old)
