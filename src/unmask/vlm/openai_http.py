"""Any server that speaks OpenAI's /v1/chat/completions: vLLM, llama.cpp, Ollama, LM Studio, transformers serve, hosted.

An image goes to the address that the user gave and nowhere else: redirects are refused, proxies are not used for this
machine, and the default address is this machine. Servers differ in what they accept, so the first request holds no more
than it must; what a server refuses and the answer does not depend on (a seed) is left out and noted.
"""

from __future__ import annotations

import base64
import io
import json
import os
import urllib.error
import urllib.request
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from unmask.errors import InputError
from unmask.types import Pixels
from unmask.vlm.chat import Capability, ChatError, ChatModel, Reply, Request

LOOPBACK = "http://127.0.0.1:8000/v1"
MOST = 16 * 2**20  # bytes of an answer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        raise ChatError(f"the server at {req.full_url} sends on to {newurl}; an image is sent only where you said")


class OpenAIHTTP(ChatModel):
    """`capabilities` are what the protocol has; a server that lacks one is told by its refusal."""

    capabilities = frozenset[Capability]({"images", "logprobs", "json_schema"})

    def __init__(
        self, address: str = LOOPBACK, *, model: str = "", key_variable: str = "", timeout: float = 120.0
    ) -> None:
        """
        Args:
            address: of the API, up to and with /v1.
            model: as the server calls it; "" = its first.
            key_variable: name of the environment variable that holds the key; "" = none is sent.
            timeout: seconds that the server may be silent.
        Raises: UnmaskError for another kind of address, and for a variable that is not set.
        """
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise InputError(f"{address!r} is not the address of a server: write http://host:port/v1, a key apart")
        if key_variable and not os.environ.get(key_variable):
            raise InputError(
                f"the environment variable {key_variable} is not set, and the server's key is said to be in it"
            )
        self.address, self.timeout, self.key_variable = address.rstrip("/"), timeout, key_variable
        self.local = is_loopback(parts.hostname)
        handlers: list[Any] = [_NoRedirect()] + ([urllib.request.ProxyHandler({})] if self.local else [])
        self._opener = urllib.request.build_opener(*handlers)
        self.name = model or self._first()
        self._flat_urls = False  # whether this server wants image_url as plain text

    def answer(self, asked: Request) -> Reply:
        optional: dict[str, Any] = {"seed": asked.seed}
        notes: tuple[str, ...] = ()
        try:
            said = self._post({**self._body(asked), **optional})
        except _RefusedError as refusal:
            first = refusal
            try:
                said = self._post(self._body(asked))
                notes = ("the server takes no seed",)
            except _RefusedError:
                if not asked.images:
                    raise first from None
                self._flat_urls = not self._flat_urls
                try:
                    said = self._post(self._body(asked))
                    notes = ("the server takes no seed, and images as plain addresses",)
                except _RefusedError:
                    self._flat_urls = not self._flat_urls
                    raise first from None
        return _reply(said, asked, notes)

    def _body(self, asked: Request) -> dict[str, Any]:
        shown = [self._image(image) for image in asked.images]
        messages: list[dict[str, Any]] = []
        for message in asked.messages:
            content: Any = message.text
            if message.role == "user" and shown:
                content, shown = [*shown, {"type": "text", "text": message.text}], []
            messages.append({"role": message.role, "content": content})
        body: dict[str, Any] = {
            "model": self.name,
            "messages": messages,
            "max_tokens": asked.max_tokens,
            "temperature": asked.temperature,
        }
        if asked.logprobs:
            body |= {"logprobs": True, "top_logprobs": asked.logprobs}
        if asked.json_schema is not None:
            form = {"name": "reply", "schema": dict(asked.json_schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body

    def _image(self, image: Pixels) -> dict[str, Any]:
        url = data_url(image)
        return {"type": "image_url", "image_url": url if self._flat_urls else {"url": url}}

    def _first(self) -> str:
        models = self._open("/models", None).get("data")
        if not isinstance(models, list) or not models or not isinstance(models[0], dict) or not models[0].get("id"):
            raise ChatError(f"the server at {self.address} names no model: give its name")
        return str(models[0]["id"])

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._open("/chat/completions", json.dumps(body).encode())

    def _open(self, path: str, data: bytes | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key_variable:
            headers["Authorization"] = f"Bearer {os.environ[self.key_variable]}"
        request = urllib.request.Request(self.address + path, data, headers)  # noqa: S310 - http and https alone, see above
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                content = response.read(MOST + 1)
        except urllib.error.HTTPError as error:
            why = error.read(2000).decode("utf-8", "replace").strip()
            if error.code in (400, 404, 415, 422, 501):
                raise _RefusedError(
                    f"the server at {self.address} refuses the request ({error.code}): {why[:500]}"
                ) from None
            raise ChatError(f"the server at {self.address} answers {error.code}: {why[:500]}") from None
        except (OSError, ValueError) as error:
            raise ChatError(f"no answer from {self.address}: {error}; is the server running there?") from error
        if len(content) > MOST:
            raise ChatError(f"the answer of {self.address} is longer than {MOST} bytes")
        try:
            said = json.loads(content)
        except ValueError:
            raise ChatError(f"{self.address} answers with something that is no JSON: is it a server of /v1?") from None
        if not isinstance(said, dict):
            raise ChatError(f"{self.address} answers with another form of JSON than /v1 has")
        return said


class _RefusedError(ChatError):
    """The server will not take the request as it is."""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by name or number."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def data_url(image: Pixels) -> str:
    """PNG, so that the server sees the same pixels."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _reply(said: dict[str, Any], asked: Request, notes: tuple[str, ...]) -> Reply:
    try:
        choice = said["choices"][0]
        text = choice["message"]["content"]
        places = ((choice.get("logprobs") or {}).get("content") or []) if asked.logprobs else []
        logprobs = tuple({t["token"]: float(t["logprob"]) for t in place["top_logprobs"]} for place in places)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ChatError(f"the server's answer has another form than /v1/chat/completions: {error!r}") from None
    if text is not None and not isinstance(text, str):
        raise ChatError("the server's answer holds no text")
    model = str(said.get("model") or "")
    fingerprint = said.get("system_fingerprint")
    return Reply(
        text or "", str(choice.get("finish_reason") or ""), f"{model} ({fingerprint})" if fingerprint else model,
        logprobs, notes,
    )  # fmt: skip
