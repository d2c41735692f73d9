"""A GGUF file in this process, through the package llama-cpp-python (MIT), the extra `llama`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from unmask.errors import MissingExtraError
from unmask.vlm.chat import Capability, ChatError, ChatModel, Reply, Request
from unmask.vlm.openai_http import _reply, data_url


class LlamaCpp(ChatModel):
    """With a vision part (mmproj) it sees images, without one it reads text alone."""

    def __init__(self, path: Path, vision: Path | None = None, context: int = 4096) -> None:
        """Raises: UnmaskError without the extra, and for a file that llama.cpp cannot read."""
        try:
            library = import_module("llama_cpp")
        except ImportError as error:
            raise MissingExtraError('a .gguf file needs an extra: pip install "unmask[llama]"') from error
        can: set[Capability] = {"logprobs", "json_schema"}
        handler = None
        try:
            if vision is not None:
                handler = import_module("llama_cpp.llama_chat_format").MTMDChatHandler(clip_model_path=str(vision))
                can.add("images")
            self._model: Any = library.Llama(
                str(path), chat_handler=handler, n_ctx=context, verbose=False, logits_all=False
            )
        except (ValueError, OSError, AttributeError) as error:
            raise ChatError(f"llama.cpp cannot read {vision or path}: {error}") from error
        self.capabilities, self.name = frozenset(can), path.name

    def answer(self, asked: Request) -> Reply:
        shown = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in asked.images]
        messages: list[dict[str, Any]] = []
        for message in asked.messages:
            content: Any = message.text
            if message.role == "user" and shown:
                content, shown = [*shown, {"type": "text", "text": message.text}], []
            messages.append({"role": message.role, "content": content})
        form = None if asked.json_schema is None else {"type": "json_object", "schema": dict(asked.json_schema)}
        try:
            said = self._model.create_chat_completion(
                messages,
                max_tokens=asked.max_tokens,
                temperature=asked.temperature,
                seed=asked.seed,
                logprobs=bool(asked.logprobs) or None,
                top_logprobs=asked.logprobs or None,
                response_format=form,
            )
        except (ValueError, RuntimeError) as error:
            raise ChatError(f"{self.name} did not answer: {error}") from error
        return _reply(said, asked, ())
