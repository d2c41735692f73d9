"""What a file confesses: traces that image generators leave in it, in their own words.

Anybody can write or remove them. That they are there is a reason to believe them; that they are not means nothing.
Known are the generation parameters of Stable Diffusion web UIs (A1111, Forge, SD.Next), the graphs of ComfyUI, the
records of InvokeAI, NovelAI and Fooocus, Midjourney's job ids, names of programs that only generate, and the IPTC
Digital Source Type (cv.iptc.org/newscodes/digitalsourcetype).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MOST = 4 << 20  # characters of one text that are looked at: graphs have some hundred thousand
PROMPT = 1000  # characters of a prompt that are kept

# IPTC terms -> what they say; the first group is of generators.
GENERATED = {
    "trainedAlgorithmicMedia": "made by a trained algorithm",
    "compositeWithTrainedAlgorithmicMedia": "edited or extended with a trained algorithm",
    "compositeSynthetic": "composed of parts of which some are synthetic",
}
OTHER = {
    "virtualRecording": "recorded in a virtual scene",
    "algorithmicMedia": "made by an algorithm",
    "algorithmicallyEnhanced": "enhanced by an algorithm",
    "computationalCapture": "taken by a camera that combines several exposures",
    "digitalCapture": "taken by a digital camera",
    "composite": "composed of several images",
    "compositeCapture": "composed of several photographs",
    "digitalArt": "drawn by a person",
    "digitalCreation": "made by a person with a program",
    "humanEdits": "edited by a person",
    "minorHumanEdits": "edited a little by a person",
    "negativeFilm": "scanned from a negative",
    "positiveFilm": "scanned from a slide",
    "print": "scanned from a print",
    "screenCapture": "a capture of a screen",
}
_SOURCE_TYPE = re.compile(rb"digitalsourcetype/(\w+)|DigitalSourceType[^A-Za-z]{1,6}(\w+)")
# Names that stand in Software, Artist or Description only where a generator wrote them.
_PROGRAMS = re.compile(
    r"\b(NovelAI|Midjourney|Stable Diffusion|DALL[·-]?E|Adobe Firefly|ComfyUI|InvokeAI|Fooocus|Leonardo\.?AI|Ideogram|"
    r"Imagen|FLUX\.?\d?|DreamStudio|Made with Google AI|Sora|Runway)\b"
)
_TEXTS = ("parameters", "prompt", "workflow", "sd-metadata", "invokeai_metadata", "Dream", "generation_data")


def confession(texts: Mapping[str, str], xmp: bytes = b"") -> dict[str, str]:
    """`generator`, `generator_model`, `generator_prompt`, `generator_settings`, `digital_source` and `declared`.

    Args:
        texts: key -> text of the file's metadata: texts of a PNG, fields of EXIF, tags of a container.
        xmp: the XMP packet; `b""` where there is none.
    """
    found: dict[str, str] = {}
    for key, text in texts.items():
        if found.get("generator_prompt"):
            break
        found |= _read(key, text[:MOST])
    if "generator" not in found and (named := _named(texts)):
        found["generator"] = named
    if term := source_type(xmp):
        found["digital_source"] = f"{term}: {(GENERATED | OTHER).get(term, 'a term of IPTC')}"
        if term in GENERATED:
            found["declared"] = f"its metadata declare it as {GENERATED[term]} (IPTC {term})"
    return {key: text for key, text in found.items() if text}


def source_type(xmp: bytes) -> str:
    """The IPTC Digital Source Type of an XMP packet, as element, attribute or resource; "" where there is none."""
    for match in _SOURCE_TYPE.finditer(xmp[:MOST]):
        if (term := (match[1] or match[2]).decode("ascii", "replace")) in GENERATED or term in OTHER:
            return term
    return ""


def _read(key: str, text: str) -> dict[str, str]:
    if "Steps: " in text and "Sampler: " in text:
        return _web_ui(text)
    if text.lstrip()[:1] in ("{", "[") or ":{" in text[:20]:
        return _json(key, text[text.index("{") :] if "{" in text[:20] else text)
    if key in _TEXTS:
        return {"generator": f"a text {key!r}, as image generators write it"}
    return {}


def _web_ui(text: str) -> dict[str, str]:
    """A1111: the prompt, a line "Negative prompt: ...", and a line of "Steps: 20, Sampler: Euler a, ..."."""
    prompt, _, settings = text.rpartition("Steps: ")
    prompt = prompt.partition("Negative prompt:")[0]
    model = re.search(r"\bModel: ([^,\n]+)", settings)
    return {
        "generator": "generation parameters of a Stable Diffusion web UI",
        "generator_model": _line(model[1], 200) if model else "",
        "generator_prompt": _line(prompt, PROMPT),
        "generator_settings": _line(f"Steps: {settings}", 300),
    }


def _json(key: str, text: str) -> dict[str, str]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        nodes = said if any(_is_node(node) for node in said.values()) else said.get("prompt")
        nodes = _from_text(nodes)
        if isinstance(nodes, dict) and any(_is_node(node) for node in nodes.values()):
            return _comfy(nodes)
        if isinstance(said.get("nodes"), list) and "links" in said:
            return {"generator": "a workflow of ComfyUI"}
        prompt = next((said[k] for k in ("positive_prompt", "prompt", "positive_conditioning") if k in said), None)
        if prompt is not None and {"steps", "seed", "sampler", "scheduler", "cfg_scale", "model"} & said.keys():
            return _plain_record(said, prompt)
    return {"generator": f"a text {key!r}, as image generators write it"} if key in _TEXTS else {}


def _from_text(value: object) -> object:
    """ComfyUI's video nodes keep the graph as a text inside the JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _is_node(node: object) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _comfy(nodes: Mapping[str, Any]) -> dict[str, str]:
    """ComfyUI's graph: what its loaders load, and the texts that its encoders encode."""
    inputs = [(node["class_type"], node["inputs"]) for node in nodes.values() if _is_node(node)]
    loaded = ("ckpt_name", "unet_name", "lora_name", "model_name", "gguf_name")
    models = [str(given[name]) for _, given in inputs for name in loaded if isinstance(given.get(name), str)]
    texts = [t for kind, given in inputs if "TextEncode" in kind or "Prompt" in kind for t in _strings(given)]
    return {
        "generator": "the graph of ComfyUI that made it",
        "generator_model": _line(", ".join(dict.fromkeys(models)), 300),
        "generator_prompt": _line(max(texts, key=len, default=""), PROMPT),
        "generator_settings": _line(", ".join(dict.fromkeys(kind for kind, _ in inputs)), 300),
    }


def _strings(given: Mapping[str, Any]) -> Iterator[str]:
    names = ("text", "text_g", "text_l", "clip_l", "t5xxl", "prompt", "positive")
    return (given[name] for name in names if isinstance(given.get(name), str))


def _plain_record(said: Mapping[str, Any], prompt: object) -> dict[str, str]:
    model = said.get("model") or said.get("base_model") or ""
    model = model.get("name") or model.get("model_name") or "" if isinstance(model, dict) else model
    settings = (f"{k}: {said[k]}" for k in ("steps", "sampler", "scheduler", "cfg_scale", "seed") if k in said)
    return {
        "generator": "a record of an image generator",
        "generator_model": _line(str(model), 200),
        "generator_prompt": _line(str(prompt), PROMPT),
        "generator_settings": _line(", ".join(settings), 300),
    }


def _named(texts: Mapping[str, str]) -> str:
    """A generator by its name, or Midjourney by its job."""
    fields = {k.lower(): v for k, v in texts.items()}
    for key in ("software", "title", "artist", "credit", "creatortool", "source", "encoder"):
        if match := _PROGRAMS.search(fields.get(key, "")[:1000]):
            return f"the name of {match[1]} in its field {key!r}"
    if re.search(r"\bJob ID: [0-9a-f]{8}-", fields.get("description", "")[:MOST]):
        return "a job id of Midjourney"
    return ""


def _line(text: str, most: int) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return text if len(text) <= most else f"{text[:most]}…"
