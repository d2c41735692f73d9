"""What files confess: parameters of generators, the IPTC source type, C2PA actions. All texts are written here."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import av
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from unmask.media import open_media
from unmask.media.confession import confession, source_type
from unmask.media.provenance import _judge
from unmask.scanning.words import confessed

from . import make

WEB_UI = (
    "a portrait of nobody, (soft light:1.2)\nNegative prompt: blurry, hands\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: aa11, Model: dream_v2, Version: v1"
)
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["4", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "flux-x.safetensors"}},
    "5": {"class_type": "LoraLoader", "inputs": {"lora_name": "a_person.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "an official portrait", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry"}},
}


def png(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    return make.still("PNG", pnginfo=info)


def test_the_parameters_of_a_web_ui_in_a_png_and_in_exif() -> None:
    exif = Image.Exif()
    for comment in (b"UNICODE\0" + WEB_UI.encode("utf-16-be"), b"UNICODE\0" + WEB_UI.encode("utf-16-le")):
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
        for data in (png(parameters=WEB_UI), make.still("JPEG", exif=exif.tobytes()), make.still("WEBP", exif=exif)):
            found = open_media(data).provenance
            assert found["generator"] == "generation parameters of a Stable Diffusion web UI"
            assert found["generator_model"] == "dream_v2"
            assert found["generator_prompt"] == "a portrait of nobody, (soft light:1.2)"
            assert found["generator_settings"].startswith("Steps: 20, Sampler: Euler a, CFG scale: 7")
            assert confessed(found) == (
                "The file itself says that a generator made it: "
                "generation parameters of a Stable Diffusion web UI (model dream_v2).",
            )


def test_the_graph_of_comfyui() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "prompt:" + json.dumps(GRAPH)  # as it writes WebP
    for data in (png(prompt=json.dumps(GRAPH), workflow="{}"), make.still("WEBP", exif=exif)):
        found = open_media(data).provenance
        assert found["generator"] == "the graph of ComfyUI that made it"
        assert found["generator_model"] == "flux-x.safetensors, a_person.safetensors"
        assert found["generator_prompt"] == "an official portrait"
    only = png(workflow=json.dumps({"nodes": [], "links": []}))
    assert open_media(only).provenance["generator"] == "a workflow of ComfyUI"


def test_a_video_of_comfyui() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        box.metadata["comment"] = json.dumps({"prompt": json.dumps(GRAPH), "workflow": {}})
        stream: Any = box.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        box.mux(stream.encode(av.VideoFrame.from_ndarray(make.picture(0, 64, 64), "rgb24")))
        box.mux(stream.encode(None))
    found = open_media(out.getvalue()).provenance
    assert (found["generator"], found["generator_prompt"]) == (
        "the graph of ComfyUI that made it",
        "an official portrait",
    )


@pytest.mark.parametrize(
    ("texts", "generator", "more"),
    [
        ({"invokeai_metadata": {"positive_prompt": "a cat", "seed": 1, "model": {"name": "sdxl"}}}, "a record", "sdxl"),
        ({"Comment": {"prompt": "a cat", "steps": 28, "sampler": "k_euler"}, "Software": "NovelAI"}, "a record", ""),
        ({"Software": "NovelAI"}, "the name of NovelAI", ""),
        ({"Description": "a cat --v 6 Job ID: 0a1b2c3d-0000"}, "a job id of Midjourney", ""),
        ({"Dream": "a cat -s 50"}, "a text 'Dream'", ""),
        ({"prompt": "a cat"}, "a text 'prompt'", ""),
    ],
)
def test_other_generators(texts: dict[str, Any], generator: str, more: str) -> None:
    written = {k: v if isinstance(v, str) else json.dumps(v) for k, v in texts.items()}
    found = open_media(png(**written)).provenance
    assert found["generator"].startswith(generator)
    assert found.get("generator_model", "") == more


@pytest.mark.parametrize(
    "texts",
    [
        {"Software": "GIMP 2.10", "Comment": "Created with GIMP", "Title": "Steps to the sea"},
        {"Description": "our imagination, a sorapeak", "Software": "Adobe Photoshop 25.0"},
        {"Comment": '{"steps": 9, "a": 1}'},
        {"Comment": "{" * 100_000},
        {"parameters": ""},
    ],
)
def test_honest_and_broken_texts_confess_nothing(texts: dict[str, str]) -> None:
    found = open_media(png(**{k: v for k, v in texts.items() if v})).provenance
    assert confessed(found) == ()


def test_hostile_texts_are_quick_and_short() -> None:
    start = time.monotonic()
    for text in ("[" * 3_000_000, "Steps: " * 500_000 + "Sampler: ", '{"prompt":' * 300_000, "\u202e" * 100 + WEB_UI):
        found = confession({"prompt": text, "parameters": text})
        assert all(len(value) < 1100 for value in found.values())
        assert "\u202e" not in "".join(found.values())
    assert time.monotonic() - start < 5


URL = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.mark.parametrize(
    "form",
    [
        "<Iptc4xmpExt:DigitalSourceType>{}</Iptc4xmpExt:DigitalSourceType>",
        '<rdf:Description Iptc4xmpExt:DigitalSourceType="{}"/>',
        '<Iptc4xmpExt:DigitalSourceType rdf:resource="{}"/>',
    ],
)
@pytest.mark.parametrize("base", [URL, URL.replace("http", "https"), ""])
def test_the_iptc_source_type(form: str, base: str) -> None:
    if "rdf:resource" in form and not base:
        return  # a resource is an address
    for term, declared in (("trainedAlgorithmicMedia", True), ("digitalCapture", False)):
        assert source_type(form.format(base + term).encode()) == term
        found = open_media(make.still("JPEG", xmp=form.format(base + term).encode())).provenance
        assert found["digital_source"].startswith(f"{term}: ")
        assert ("declared" in found) is declared
    assert source_type(form.format(base + "somethingElse").encode()) == ""


def test_the_source_type_of_a_video() -> None:
    xmp = f"<x DigitalSourceType='{URL}trainedAlgorithmicMedia'/>".encode()
    box = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + xmp
    data = make.clip(count=3) + (8 + len(box)).to_bytes(4, "big") + b"uuid" + box
    assert "trained algorithm" in open_media(data).provenance["declared"]


def test_c2pa_actions_are_told() -> None:
    agent = {"name": "Paint 9"}
    done = [
        {"action": "c2pa.created", "digitalSourceType": f"{URL}trainedAlgorithmicMedia", "softwareAgent": agent},
        {"action": "c2pa.edited", "softwareAgent": "Darkroom"},
    ]
    plain = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": done}}]}
    found = _judge({"active_manifest": "a", "manifests": {"a": plain}}, "Valid")
    assert found["c2pa_actions"] == "created by Paint 9 (made by a trained algorithm); edited by Darkroom"
    assert found["declared"] == "its content credentials declare it as made by a trained algorithm, in whole or part"
    later = {"assertions": [{"label": "c2pa.actions", "data": {"actions": done[1:]}}]}
    found = _judge({"active_manifest": "b", "manifests": {"a": plain, "b": later}}, "Valid")
    assert found["c2pa_actions"] == "edited by Darkroom"
    assert "trained algorithm" in found["declared"]  # what it builds on was generated
    for broken in ({}, {"assertions": None}, {"assertions": [{"label": 7, "data": [1]}, 5]}):
        assert "declared" not in _judge({"active_manifest": "a", "manifests": {"a": broken}}, "Valid")
