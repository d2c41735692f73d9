"""Vision-language models that plug in: one protocol, its adapters, and the methods that ask them about an image."""

from __future__ import annotations

from pathlib import Path

from unmask.errors import InputError
from unmask.vlm.chat import ChatModel


def connect(where: str, model: str = "", key_variable: str = "") -> ChatModel:
    """The model that `where` names.

    Args:
        where: the address of an OpenAI-compatible server ("http://127.0.0.1:8000/v1"), the folder of a model in
            transformers' layout, a .gguf file, or a .json script of replies.
        model: the server's name of the model, or the vision part (mmproj) of a .gguf file.
        key_variable: name of an environment variable with the server's key.
    Raises: UnmaskError for what is none of these, and for a missing extra.
    """
    if where.startswith(("http://", "https://")):
        from unmask.vlm.openai_http import OpenAIHTTP

        return OpenAIHTTP(where, model=model, key_variable=key_variable)
    path = Path(where)
    if path.suffix == ".json":
        from unmask.vlm.scripted import Scripted

        return Scripted.read(path)
    if path.suffix == ".gguf":
        from unmask.vlm.llama_cpp import LlamaCpp

        return LlamaCpp(path, Path(model) if model else None)
    if (path / "config.json").is_file():
        from unmask.vlm.transformers_local import TransformersLocal

        return TransformersLocal(path)
    raise InputError(
        f"{where!r} is no vision-language model: give the address of a server (http://127.0.0.1:8000/v1), a folder "
        "with config.json, a .gguf file or a .json script"
    )
