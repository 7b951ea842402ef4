"""Image and text encoders: networks, preprocessing and pretrained weights.

The first module of each group is the entry point:

- image encoders: `images` builds them by name, from the networks in `efficientnet_lite`,
  `keras_applications`, `keras_hub_images` and `clip_towers`
- features of photos: `photos` provides the inputs of models; `extraction` stores features, computed
  by a compiled encoder (`forward`); `grids` concatenates those of several encoders
- text encoders: `texts` builds a `text_tower` by name or from a folder, from the networks in
  `minilm`, `huggingface_bert`, `keras_hub_texts` and `clip_towers`; `sentences` encodes only
  sentences, also by sentence-transformers
- tokenizers: `tokenizer` is the base class of `wordpiece` (BERT) and `byte_pairs` (CLIP)
- CLIP: `clip_towers`; `clip` (the networks), `clip_files` (all file formats), `clip_keras_hub`,
  `clip_original`, `clip_vocabulary`
- fine-tuning: `tuning` freezes layers and sets learning rates
- weights: `weights` finds, downloads and verifies the files in `weight_files`; `presets` and
  `text_presets` find folders; `tensors` copies tensors into models; `torch_file` reads PyTorch
  files without PyTorch
- names: `registry` (all encoders), `names` (their spelling), `listing` (`imagetext encoders`)
"""
