"""Image towers and text towers, their preprocessing, and where their weights come from.

Begin with the first of each group: it takes a name and does the rest; the others are behind it.

- photos in, vectors or cells out: `images` (by name); the networks in `efficientnet_lite`,
  `keras_applications`, `keras_hub_images`, `clip_towers`
- photos as features, each encoded once: `photos` (what a model is given), `extraction` (into a
  store), `forward` (compiled, in the quickest precision)
- texts in, vectors out: `texts` (by name or folder), `text_tower` (what it gives); the networks in
  `minilm`, `huggingface_bert`, `keras_hub_texts`, `clip_towers`; `sentences` (only a vector a
  sentence, also by sentence-transformers)
- texts to ids: `pieces` (what all tokenizers share), `wordpiece` (BERT's), `byte_pairs` (CLIP's)
- a CLIP, both halves: `clip_towers`; `clip` (the network), `clip_files` (any format on disk),
  `clip_keras_hub`, `clip_original`, `clip_vocabulary`
- inside a model that is trained: `tuning` (what is frozen, and how quickly the rest learns)
- where weights lie: `weights` (single files, hashes checked), `weight_files` (all that are known),
  `presets` and `text_presets` (folders), `torch_file` (PyTorch's files, without PyTorch)
- on the command line: `listing` (`imagetext encoders`), `names` (as people spell them)
"""
