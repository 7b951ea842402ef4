"""A CLIP of two blocks a side in every format that CLIPs come in, and what it computes, in numpy.

    tensors = random_tensors()
    save_hugging_face(folder, tensors)
    cells, vectors = seen(tensors, photos)

The formats are written here as others wrote them, and none of it with what is tested.
"""

import gzip
import io
import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from imagetext.encoders import clip, registry
from imagetext.encoders.clip import Blocks, ClipShape
from imagetext.encoders.registry import ImageEncoder

#: OpenAI's own heads are 64 wide: two here, and one.
PHOTOS, TEXTS = Blocks(128, 2, 2, 96), Blocks(64, 2, 1, 80)
SIZE, PATCH, VECTOR, POSITIONS = 12, 4, 16, 14
MERGES = ["d o", "do g", "do g</w>", "r e", "re d</w>", "t h", "th e</w>", "i n</w>"]
VOCABULARY = 512 + len(MERGES) + 2
SHAPE = ClipShape(PHOTOS, TEXTS, PATCH, VECTOR, SIZE, VOCABULARY, POSITIONS)
MEAN, DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
NAME, PRESET = "clip_vit_b32", "clip_vit_base_patch32"


def registered(patch) -> None:
    """Let clip_vit_b32 be the name of a CLIP of this size."""
    patch.setitem(clip.SHAPES, NAME, SHAPE)
    known = {"module": "clip_towers", "network": NAME, "weights": PRESET}
    encoder = ImageEncoder(NAME, SIZE, SIZE // PATCH, VECTOR, 1, **known, cell_width=PHOTOS.width)
    patch.setitem(registry.IMAGE_ENCODERS, NAME, encoder)
    encoder = replace(registry.TEXT_ENCODERS[NAME], tokens=POSITIONS, width=VECTOR, parameters=1)
    patch.setitem(registry.TEXT_ENCODERS, NAME, encoder)


def random_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """By Hugging Face's names, and so large that no part can be left out unnoticed."""
    rng = np.random.default_rng(seed)
    made = {
        "vision_model.embeddings.class_embedding": (PHOTOS.width,),
        "vision_model.embeddings.patch_embedding.weight": (PHOTOS.width, 3, PATCH, PATCH),
        "vision_model.embeddings.position_embedding.weight": ((SIZE // PATCH) ** 2 + 1, 128),
        "vision_model.pre_layrnorm.weight": (PHOTOS.width,),
        "vision_model.pre_layrnorm.bias": (PHOTOS.width,),
        "vision_model.post_layernorm.weight": (PHOTOS.width,),
        "vision_model.post_layernorm.bias": (PHOTOS.width,),
        "visual_projection.weight": (VECTOR, PHOTOS.width),
        "text_model.embeddings.token_embedding.weight": (VOCABULARY, TEXTS.width),
        "text_model.embeddings.position_embedding.weight": (POSITIONS, TEXTS.width),
        "text_model.final_layer_norm.weight": (TEXTS.width,),
        "text_model.final_layer_norm.bias": (TEXTS.width,),
        "text_projection.weight": (VECTOR, TEXTS.width),
    }
    for half, blocks in (("vision", PHOTOS), ("text", TEXTS)):
        for index in range(blocks.depth):
            name, width = f"{half}_model.encoder.layers.{index}", blocks.width
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                made[f"{name}.self_attn.{part}.weight"] = (width, width)
                made[f"{name}.self_attn.{part}.bias"] = (width,)
            for part in ("layer_norm1", "layer_norm2"):
                made |= {f"{name}.{part}.weight": (width,), f"{name}.{part}.bias": (width,)}
            made[f"{name}.mlp.fc1.weight"] = (blocks.feed_forward, width)
            made[f"{name}.mlp.fc1.bias"] = (blocks.feed_forward,)
            made[f"{name}.mlp.fc2.weight"] = (width, blocks.feed_forward)
            made[f"{name}.mlp.fc2.bias"] = (width,)

    def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if "norm" in name:
            return rng.normal("weight" in name, 0.3, shape)
        spread = 1.2 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.3
        return rng.normal(0, 0.5 if "embedding" in name and len(shape) < 4 else spread, shape)

    tensors = {name: drawn(name, shape).astype(np.float32) for name, shape in made.items()}
    return tensors | {"logit_scale": np.array(math.log(40), np.float32)}


# ---------------------------------------------------------------------------- what it computes


def seen(tensors, photos: np.ndarray, kind: str = "quick_gelu") -> tuple[np.ndarray, np.ndarray]:
    """Photos uint8 [b, size, size, 3] -> cells [b, n, n, width] behind the last norm, vectors."""
    count, side = len(photos), SIZE // PATCH
    x = ((photos / 255 - MEAN) / DEVIATION).reshape(count, side, PATCH, side, PATCH, 3)
    kernel = tensors["vision_model.embeddings.patch_embedding.weight"]
    x = x.transpose(0, 1, 3, 5, 2, 4).reshape(count, side**2, -1) @ kernel.reshape(128, -1).T
    first = np.tile(tensors["vision_model.embeddings.class_embedding"], (count, 1, 1))
    x = np.concatenate([first, x], axis=1)
    x = x + tensors["vision_model.embeddings.position_embedding.weight"]
    x = _norm(x, tensors, "vision_model.pre_layrnorm")
    for index in range(PHOTOS.depth):
        x = _block(x, tensors, f"vision_model.encoder.layers.{index}", PHOTOS.heads, False, kind)
    x = _norm(x, tensors, "vision_model.post_layernorm")
    return x[:, 1:].reshape(count, side, side, -1), x[:, 0] @ tensors["visual_projection.weight"].T


def read(tensors, ids: np.ndarray, end: int, kind="quick_gelu") -> tuple[np.ndarray, np.ndarray]:
    """Ids int [b, t] -> states of tokens [b, t, width], and vectors, which are not of length 1."""
    x = tensors["text_model.embeddings.token_embedding.weight"][ids].astype(np.float64)
    x = x + tensors["text_model.embeddings.position_embedding.weight"][: ids.shape[1]]
    for index in range(TEXTS.depth):
        x = _block(x, tensors, f"text_model.encoder.layers.{index}", TEXTS.heads, True, kind)
    x = _norm(x, tensors, "text_model.final_layer_norm")
    last = x[np.arange(len(ids)), (ids == end).argmax(axis=1)]
    return x, last @ tensors["text_projection.weight"].T


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _norm(x, tensors, name: str):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def _block(x, tensors, name: str, heads: int, causal: bool, kind: str):
    def dense(x, part: str):
        return x @ tensors[f"{name}.{part}.weight"].T + tensors[f"{name}.{part}.bias"]

    known = _norm(x, tensors, f"{name}.layer_norm1")
    query, key, value = (
        np.stack(np.split(dense(known, f"self_attn.{part}_proj"), heads, -1), 1) for part in "qkv"
    )
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    if causal:
        scores = np.where(np.tri(x.shape[1], dtype=bool), scores, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = scores / scores.sum(-1, keepdims=True) @ value
    mixed = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
    x = x + dense(mixed, "self_attn.out_proj")
    hidden = dense(_norm(x, tensors, f"{name}.layer_norm2"), "mlp.fc1")
    if kind == "quick_gelu":
        hidden = hidden / (1 + np.exp(-1.702 * hidden))
    else:
        hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    return x + dense(hidden, "mlp.fc2")


# ------------------------------------------------------------------------------ how it is kept


def vocabulary() -> dict[str, int]:
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in visible] + [chr(256 + number) for number in range(68)]
    pieces = letters + [letter + "</w>" for letter in letters]
    pieces += [merge.replace(" ", "") for merge in MERGES] + ["<|startoftext|>", "<|endoftext|>"]
    return {piece: number for number, piece in enumerate(pieces)}


def save_hugging_face(folder: Path, tensors, **config) -> Path:
    def half(blocks: Blocks, **others) -> dict:
        return {
            "hidden_size": blocks.width,
            "intermediate_size": blocks.feed_forward,
            "num_hidden_layers": blocks.depth,
            "num_attention_heads": blocks.heads,
            "hidden_act": "quick_gelu",
            **others,
        }

    told = {
        "model_type": "clip",
        "projection_dim": VECTOR,
        "vision_config": half(PHOTOS, image_size=SIZE, patch_size=PATCH),
        "text_config": half(TEXTS, vocab_size=VOCABULARY, max_position_embeddings=POSITIONS),
        "text_config_dict": None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(told | config))
    save_file(tensors, folder / "model.safetensors")
    (folder / "vocab.json").write_text(json.dumps(vocabulary()))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    return folder


def in_the_original(tensors) -> dict[str, np.ndarray]:
    """The same under the names of OpenAI's code, which keeps its projections the other way round,
    and query, key and value in one."""
    given, made = dict(tensors), {}
    made["visual.proj"] = given.pop("visual_projection.weight").T.copy()
    made["text_projection"] = given.pop("text_projection.weight").T.copy()
    made["logit_scale"] = given.pop("logit_scale")
    renamed = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
    }
    parts = {
        "vision_model.pre_layrnorm": "visual.ln_pre",
        "vision_model.post_layernorm": "visual.ln_post",
        "text_model.final_layer_norm": "ln_final",
        "vision_model.encoder.layers": "visual.transformer.resblocks",
        "text_model.encoder.layers": "transformer.resblocks",
        "layer_norm": "ln_",
        "self_attn": "attn",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    for name, tensor in given.items():
        theirs = renamed.get(name, name)
        for ours, other in parts.items():
            theirs = theirs.replace(ours, other)
        if "q_proj" in theirs:
            three = [given[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            made[theirs.replace("q_proj.", "in_proj_")] = np.concatenate(three)
        elif "k_proj" not in theirs and "v_proj" not in theirs:
            made[theirs] = tensor
    return made


def save_vocabulary(folder: Path) -> None:
    """As OpenAI keeps it."""
    folder.mkdir(parents=True, exist_ok=True)
    told = "\n".join(['"bpe_simple_vocab_16e6.txt#version: 0.2', *MERGES]) + "\n"
    (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(told.encode()))


def save_open_clip(folder: Path, tensors, quick_gelu: bool = True, **model) -> Path:
    told = {"embed_dim": VECTOR, "quick_gelu": quick_gelu, "vision_cfg": {}, "text_cfg": {}}
    told = {"model_cfg": told | model, "preprocess_cfg": {"mean": MEAN, "std": DEVIATION}}
    save_vocabulary(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    save_file(in_the_original(tensors), folder / "open_clip_model.safetensors")
    return folder


def save_openai(folder: Path, tensors) -> Path:
    """An archive of TorchScript, put together by hand: modules within modules, code beside them."""
    save_vocabulary(folder)
    numbers: list[bytes] = []
    given = in_the_original(tensors) | {"input_resolution": np.int64(SIZE)}

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def row(*values) -> bytes:
        return b"(" + b"".join(v if isinstance(v, bytes) else b"I%d\n" % v for v in values) + b"t"

    def tensor(array: np.ndarray) -> bytes:
        kind = {"f4": "FloatStorage", "i8": "LongStorage"}[array.dtype.str[1:]]
        storage = row(text("storage"), f"ctorch\n{kind}\n".encode(), text(str(len(numbers))))
        storage = storage[:-1] + text("cuda:0") + b"I%d\ntQ" % array.size
        numbers.append(np.ascontiguousarray(array).tobytes())
        strides = [step // array.itemsize for step in np.empty(array.shape, array.dtype).strides]
        rest = b"I00\nccollections\nOrderedDict\n)R"
        made = row(storage, 0, row(*array.shape), row(*strides), rest)
        return b"ctorch._utils\n_rebuild_tensor_v2\n" + made + b"R"

    def module(parts: dict) -> bytes:
        items = b"".join(
            text(name) + (module(part) if isinstance(part, dict) else tensor(np.asarray(part)))
            for name, part in parts.items()
        )
        return b"c__torch__.model\nPart\n)\x81}(" + items + text("training") + b"I00\nub"

    tree: dict = {}
    for name, array in given.items():
        *path, last = name.split(".")
        inside = tree
        for step in path:
            inside = inside.setdefault(step, {})
        inside[last] = array
    program = b"\x80\x02" + module(tree) + b"."
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number, content in enumerate(numbers):
            archive.writestr(f"clip/data/{number}", content)
        archive.writestr("clip/data.pkl", program)
        code = zipfile.ZipInfo("clip/code/__torch__/model.py")
        archive.writestr(code, "pass\n" * 10**6, zipfile.ZIP_DEFLATED)
        archive.writestr("clip/constants.pkl", b"\x80\x02).")
    (folder / "ViT-B-32.pt").write_bytes(made.getvalue())
    return folder


def save_keras_hub(folder: Path, tensors) -> Path:
    """Put into keras-hub's own CLIP, and saved by it."""
    from keras_hub.models import CLIPBackbone, CLIPTextEncoder, CLIPTokenizer, CLIPVisionEncoder

    sizes = [
        (blocks.width, blocks.depth, blocks.heads, blocks.feed_forward)
        for blocks in (PHOTOS, TEXTS)
    ]
    eyes = CLIPVisionEncoder(PATCH, *sizes[0], image_shape=(SIZE, SIZE, 3), name="eyes")
    reader = CLIPTextEncoder(
        VOCABULARY, TEXTS.width, *sizes[1], max_sequence_length=POSITIONS, name="reader"
    )
    backbone = CLIPBackbone(eyes, reader, VECTOR)

    def dense(layer, name: str):
        layer.kernel.assign(tensors[f"{name}.weight"].T.reshape(layer.kernel.shape))
        layer.bias.assign(tensors[f"{name}.bias"].reshape(layer.bias.shape))

    def norm(layer, name: str):
        layer.set_weights([tensors[f"{name}.weight"], tensors[f"{name}.bias"]])

    for half, encoder in (("vision_model", eyes), ("text_model", reader)):
        for number, layer in enumerate(encoder.encoder_layers):
            name = f"{half}.encoder.layers.{number}"
            norm(layer.layer_norm_1, f"{name}.layer_norm1")
            norm(layer.layer_norm_2, f"{name}.layer_norm2")
            dense(layer.dense_1, f"{name}.mlp.fc1")
            dense(layer.dense_2, f"{name}.mlp.fc2")
            for part in ("query", "key", "value", "output"):
                theirs = "out_proj" if part == "output" else f"{part[0]}_proj"
                dense(getattr(layer.attention, f"{part}_dense"), f"{name}.self_attn.{theirs}")
    table = "vision_model.embeddings"
    eyes.embedding.class_embedding.assign(tensors[f"{table}.class_embedding"])
    kernel = tensors[f"{table}.patch_embedding.weight"].transpose(2, 3, 1, 0)
    eyes.embedding.patch_embedding.kernel.assign(kernel)
    places = tensors[f"{table}.position_embedding.weight"]
    eyes.embedding.position_embedding.embeddings.assign(places)
    norm(eyes.pre_layer_norm, "vision_model.pre_layrnorm")
    norm(eyes.layer_norm, "vision_model.post_layernorm")
    table = "text_model.embeddings"
    words = tensors[f"{table}.token_embedding.weight"]
    reader.embedding.token_embedding.embeddings.assign(words)
    places = tensors[f"{table}.position_embedding.weight"]
    reader.embedding.position_embedding.position_embeddings.assign(places)
    norm(reader.layer_norm, "text_model.final_layer_norm")
    backbone.vision_projection.kernel.assign(tensors["visual_projection.weight"].T)
    backbone.text_projection.kernel.assign(tensors["text_projection.weight"].T)
    backbone.clip_head.logit_scale.assign(tensors["logit_scale"])
    backbone.save_to_preset(str(folder))
    CLIPTokenizer(vocabulary(), MERGES).save_to_preset(str(folder))
    return folder
