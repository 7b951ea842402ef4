"""Write text_reference.npz: a tiny BERT and a tiny CLIP, saved and run by transformers.

    python tests/encoders/make_text_reference.py

Needs PyTorch and transformers, and nothing of this project.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

TEXTS = ["A dog runs on SAND!", "", "Dogs, dogs & 3 cafés in 2023", "zebra don't " * 9]
TOKENS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a dog runs on sand ##s snow ! , & 3 cafe in 20 ##23 ' t don"
)
MERGES = ["d o", "do g", "do g</w>", "i n</w>", "s a", "n d</w>", "sa nd</w>", "2 0", "' t</w>"]


def as_bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Set weights so large that all parts of the network affect its output."""
    with torch.no_grad():
        for number, (name, parameter) in enumerate(model.named_parameters()):
            parameter.normal_(0, 0.4, generator=torch.Generator().manual_seed(number))
            if "norm" in name.lower() and name.endswith("weight"):
                parameter += 1
    return model.eval()


def bert() -> dict[str, np.ndarray]:
    vocabulary = {token: number for number, token in enumerate(TOKENS.split())}
    config = BertConfig(
        vocab_size=len(vocabulary) + 3,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=16,
        layer_norm_eps=0.01,
    )
    model, tokenizer = randomised(BertForMaskedLM(config)), BertTokenizer(vocab=vocabulary)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=16, return_tensors="pt")
    # The GELU of keras-hub, with which Google trained BERT.
    config = BertConfig(**config.to_dict() | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-12})
    rougher = BertForMaskedLM(config).eval()
    rougher.load_state_dict(model.state_dict())
    with torch.no_grad():
        states = model.bert(**inputs).last_hidden_state
        rough_states = rougher.bert(**inputs).last_hidden_state
    written = {
        "bert_ids": inputs["input_ids"].numpy(),
        "bert_states": states.numpy(),
        "bert_rough_states": rough_states.numpy(),
    }
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir()):
            written[f"bert_folder/{path.name}"] = np.frombuffer(path.read_bytes(), np.uint8)
    return written


def clip() -> dict[str, np.ndarray]:
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in visible] + [chr(256 + number) for number in range(68)]
    pieces = letters + [letter + "</w>" for letter in letters]
    pieces += [merge.replace(" ", "") for merge in MERGES] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        projection_dim=6,
        max_position_embeddings=20,
        bos_token_id=len(vocabulary) - 2,
        eos_token_id=len(vocabulary) - 1,
        pad_token_id=0,
    )
    model = randomised(CLIPTextModelWithProjection(config))
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[tuple(m.split(" ")) for m in MERGES])
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=20, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    written = {f"clip/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    return written | {
        "clip_vocabulary": as_bytes(json.dumps(vocabulary)),
        "clip_merges": as_bytes("\n".join(MERGES)),
        "clip_ids": inputs["input_ids"].numpy(),
        "clip_mask": inputs["attention_mask"].numpy(),
        "clip_states": outputs.last_hidden_state.numpy(),
        "clip_sentences": outputs.text_embeds.numpy(),
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("text_reference.npz")
    np.savez_compressed(path, texts=as_bytes(json.dumps(TEXTS)), **bert(), **clip())
    print(path, path.stat().st_size, "bytes")
