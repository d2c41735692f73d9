"""A LLaVA of two layers with random weights, its processor and its words, all made here."""

from __future__ import annotations

from typing import Any

import torch

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% endif %} </s> {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)
WORDS = ["<pad>", "<unk>", "</s>", "<image>", "user", "assistant", "system"]
WORDS += ["real", "fake", "face", "skin", "eyes", "yes", "no", "a", "the", "is", "image"] + [f"w{i}" for i in range(14)]
SIDE, PATCH = 16, 8


def tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    made.chat_template = TEMPLATE
    return made


def llava(seed: int = 0) -> tuple[Any, Any]:
    """The model and its processor."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**sizes, num_hidden_layers=2, image_size=SIDE, patch_size=PATCH)
    text = LlamaConfig(
        **sizes, num_hidden_layers=4, vocab_size=len(WORDS), eos_token_id=2, pad_token_id=0, bos_token_id=None
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=3, image_token_id=3)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" not in name:
                value.mul_(20)  # as they are initialised the image moves no logit that matters
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE)
    processor = LlavaProcessor(
        images, tokenizer(), patch_size=PATCH, vision_feature_select_strategy="default", image_token="<image>",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )  # fmt: skip
    return model, processor
