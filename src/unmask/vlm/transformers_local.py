"""A model of transformers from a folder on disk: the one adapter whose logits and layers decoding rules can read.

Nothing is downloaded and no code of a model's folder is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from unmask.base.decoder import Decoder
from unmask.errors import InputError
from unmask.nn.decoding import Branch, DecodingProcessor
from unmask.registry import create
from unmask.types import Pixels
from unmask.vlm.chat import Capability, ChatError, ChatModel, Message, Reply, Request

FACTUAL = "Answer with facts alone. Say that you do not know rather than guess."


class TransformersLocal(ChatModel):
    """One image-text model, or a text model that judges what others have seen."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Raises: UnmaskError for a folder that transformers cannot read without running code of it."""
        here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            config = AutoConfig.from_pretrained(str(folder), **here)
            sees = hasattr(config, "vision_config")
            if sees:
                processors: Any = AutoProcessor  # it carries no types
                self.processor: Any = processors.from_pretrained(str(folder), **here)
                model: Any = AutoModelForImageTextToText.from_pretrained(str(folder), **here)
            else:
                self.processor = AutoTokenizer.from_pretrained(str(folder), **here)
                model = AutoModelForCausalLM.from_pretrained(str(folder), **here)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ChatError(f"{folder} holds no model that transformers can read: {error}") from error
        self._begin(model, self.processor, folder.resolve().name, sees=sees, device=device)

    @classmethod
    def of(cls, model: Any, processor: Any, name: str) -> TransformersLocal:
        """Around a model that is in memory already, with its processor (or tokeniser)."""
        self = cls.__new__(cls)
        self._begin(model, processor, name, sees=hasattr(model.config, "vision_config"), device="cpu")
        return self

    def _begin(self, model: Any, processor: Any, name: str, *, sees: bool, device: str) -> None:
        self.model, self.processor, self.name = model.to(device).eval(), processor, name
        self.tokenizer = getattr(processor, "tokenizer", processor)
        can: set[Capability] = {"logprobs", "branches", "hidden_states"}
        self.capabilities = frozenset(can | ({"images"} if sees else set()))

    @torch.no_grad()
    def answer(self, asked: Request) -> Reply:
        inputs = self.inputs(asked.messages, asked.images)
        prompt = inputs["input_ids"].shape[1]
        options: dict[str, Any] = {"max_new_tokens": asked.max_tokens, "do_sample": asked.temperature > 0}
        if asked.temperature > 0:
            torch.manual_seed(asked.seed)
            options |= {"temperature": asked.temperature, "top_k": 0}  # transformers' default of 50 is nobody's wish
        if asked.decoder:
            options["logits_processor"] = [self._decoding(asked, inputs, prompt)]
        out = self.model.generate(
            **inputs,
            **options,
            output_scores=bool(asked.logprobs),
            return_dict_in_generate=True,
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
        )
        written = out.sequences[0, prompt:]
        scores = out.scores if asked.logprobs else ()
        return Reply(
            self.tokenizer.decode(written, skip_special_tokens=True).strip(),
            "length" if len(written) >= asked.max_tokens else "stop",
            self.name,
            tuple(self._likeliest(score[0], asked.logprobs) for score in scores),
        )

    def inputs(self, messages: tuple[Message, ...], images: tuple[Pixels, ...]) -> dict[str, Tensor]:
        """The prompt as tensors, by the model's own chat template."""
        shown: list[Any] = [Image.fromarray(image) for image in images]
        if not getattr(self.tokenizer, "chat_template", None) and not getattr(self.processor, "chat_template", None):
            raise ChatError(f"{self.name} has no chat template: it was not trained to answer")
        told = []
        for message in messages:
            content: Any = [{"type": "text", "text": message.text}]
            if message.role == "user" and shown:
                content, shown = [{"type": "image"}] * len(images) + content, []
            told.append({"role": message.role, "content": content if "images" in self.capabilities else message.text})
        text = self.processor.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
        pictures = {"images": [Image.fromarray(image) for image in images]} if images else {}
        made = self.processor(text=text, **pictures, return_tensors="pt", add_special_tokens=False)
        return {k: v.to(self.model.device) for k, v in made.items() if isinstance(v, Tensor)}

    def _decoding(self, asked: Request, inputs: Mapping[str, Tensor], prompt: int) -> DecodingProcessor:
        decoder: Decoder = create("decoder", asked.decoder, asked.decoder_options)
        branches = {}
        for name in decoder.branches:
            messages, images = asked.messages, asked.images
            if name == "transformed":
                images = tuple(mirrored(image) for image in images)
            elif name == "noised":
                images = tuple(noised(image, asked.seed) for image in images)
            elif name == "instructed":
                messages = (Message("system", FACTUAL), *(m for m in messages if m.role != "system"))
            else:
                raise InputError(
                    f"{asked.decoder} needs a pass {name!r}, a second model that {self.name} does not have"
                )
            branches[name] = Branch(self.model, self.inputs(messages, images))
        original = Branch(self.model, dict(inputs)) if decoder.reads_layers else None
        return DecodingProcessor(decoder, prompt, branches, original)

    def _likeliest(self, scores: Tensor, count: int) -> dict[str, float]:
        top = scores.float().log_softmax(-1).topk(count)
        return {self.tokenizer.decode([int(i)]): float(v) for v, i in zip(top.values, top.indices, strict=True)}


def mirrored(image: Pixels) -> Pixels:
    """The one transformation of RITUAL's list that leaves what a forgery shows: blur and rotation destroy it."""
    return np.ascontiguousarray(image[:, ::-1])


def noised(image: Pixels, seed: int, step: int = 500, steps: int = 1000) -> Pixels:
    """VCD's distortion: x sqrt(a) + noise sqrt(1 - a), a of a diffusion model's forward process at `step`.

    The schedule is the authors': beta from 1e-5 to 5e-3 by a sigmoid over -6..6. Values are of an image in -1..1.
    """
    beta = 1 / (1 + np.exp(-np.linspace(-6, 6, steps))) * (0.5e-2 - 1e-5) + 1e-5
    kept = float(np.prod(1 - beta[: step + 1]))
    noise = np.random.default_rng(seed).standard_normal(image.shape)
    mixed = np.sqrt(kept) * (image / 127.5 - 1) + np.sqrt(1 - kept) * noise
    return np.asarray(((mixed + 1) * 127.5).round().clip(0, 255), np.uint8)
