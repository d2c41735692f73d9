"""Autoencoders and diffusion in closed form: round trips, steps, start latents, what is put back, low-rank adapters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.portraits import face
from unmask.base.generator import Unforgeable
from unmask.errors import BundleError, InputError
from unmask.generators import anchor_latent as anchored
from unmask.generators.anchor_latent import AnchorLatent, dreambooth_loss, from_anchor
from unmask.generators.inpaint import Inpaint, painted, region, soft, stroke
from unmask.generators.vae_roundtrip import VAERoundTrip
from unmask.nn.autoencoders import BlockDCT, TinyPair, as_pixels, as_tensor, load_autoencoder, round_trip
from unmask.nn.diffusion import LatentDiffusion, guided, load_diffusion, noised, steps_run, untrained
from unmask.types import InputSpec, Pixels

diffusers = pytest.importorskip("diffusers")


# --- autoencoders ----------------------------------------------------------------------------------------------------


def test_the_cosine_transform_of_a_block_by_hand() -> None:
    """A block of one value v in -1..1 has the coefficient 4 v at (0, 0), kept at half its size; all others are 0."""
    z = BlockDCT().encode(torch.full((1, 3, 8, 8), 0.75))  # v = 0.5
    assert z.shape == (1, 18, 2, 2)
    torch.testing.assert_close(z[0, ::6], torch.full((3, 2, 2), 1.0))
    assert z[0, 1:6].abs().max() < 1e-6
    # A ramp has only (0, 1), (0, 3) of the coefficients; (0, 3) is dropped, so it comes back changed by that alone.
    ramp = torch.tensor([0.2, 0.4, 0.6, 0.8]).expand(1, 3, 4, 4)
    line = torch.cos(torch.pi * (2 * torch.arange(4) + 1) * 3 / 8) * 0.5**0.5
    lost = (ramp[0, 0, 0] @ line) * line
    torch.testing.assert_close(BlockDCT().decode(BlockDCT().encode(ramp))[0, 0, 0], ramp[0, 0, 0] - lost)


def test_what_was_added_to_fit_is_taken_off_again() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    planes = as_tensor(image, 4)
    assert planes.shape == (1, 3, 8, 8)
    assert (planes[..., 5:, :7] == planes[..., 4:5, :7]).all()
    np.testing.assert_array_equal(as_pixels(planes, 5, 7), image)


def tiny(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "AutoencoderTiny":
        widths = {"encoder_block_out_channels": (8, 8, 8, 8), "decoder_block_out_channels": (8, 8, 8, 8)}
        made = diffusers.AutoencoderTiny(**widths)
    else:
        made = diffusers.AutoencoderKL(
            block_out_channels=(8, 8), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
    return made.eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["AutoencoderTiny", "AutoencoderKL"])
def test_a_folder_of_diffusers_gives_diffusers_pixels(kind: str, tmp_path: Path) -> None:
    model = tiny(kind)
    model.save_pretrained(tmp_path / "vae")  # type: ignore[operator]
    image = face("collins", InputSpec(size=64, margin=1.3))[0]
    ours = load_autoencoder(str(tmp_path))  # the pipeline's folder is entered
    with torch.no_grad():
        x = 2 * as_tensor(image) - 1
        found = model.encode(x)  # type: ignore[operator]
        z = found.latent_dist.mode() if kind == "AutoencoderKL" else found.latents
        theirs = model.decode(z).sample  # type: ignore[operator]
    np.testing.assert_array_equal(round_trip(ours, image), as_pixels(((theirs + 1) / 2).clamp(0, 1), 64, 64))
    scale = 0.18215 if kind == "AutoencoderKL" else 1.0
    torch.testing.assert_close(ours.encode(as_tensor(image)), z * scale)


def test_taesd_layout_is_that_of_diffusers_tiny_autoencoder(tmp_path: Path) -> None:
    """Diffusers' AutoencoderTiny is TAESD; its weights under TAESD's names give the same latents and pixels."""
    from safetensors.torch import save_file

    torch.manual_seed(1)
    theirs = diffusers.AutoencoderTiny().eval()
    state = theirs.state_dict()
    encoder = {k.removeprefix("encoder.layers."): v for k, v in state.items() if k.startswith("encoder.")}
    decoder = {k.removeprefix("decoder.layers."): v for k, v in state.items() if k.startswith("decoder.")}
    decoder = {f"{int(k.split('.')[0]) + 1}.{k.split('.', 1)[1]}": v for k, v in decoder.items()}  # after the bound
    save_file(encoder, tmp_path / "a_encoder.safetensors")
    save_file(decoder, tmp_path / "a_decoder.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"scaling_factor": 0.5}))
    ours, x = load_autoencoder(str(tmp_path)), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        z = theirs.encode(2 * x - 1).latents
        torch.testing.assert_close(ours.encode(x), 0.5 * z)
        torch.testing.assert_close(ours.decode(0.5 * z), ((theirs.decode(z).sample + 1) / 2).clamp(0, 1))


def test_taef2_repeats_a_portrait_in_more_than_thirty_decibels(shared_data: Path) -> None:
    weights = shared_data.parent / "weights"
    if not (weights / "taef2_encoder.safetensors").exists():
        pytest.skip("TAEF2's weights are not here")
    image = face("collins", InputSpec(size=256, margin=1.3))[0]
    back = round_trip(load_autoencoder(str(weights)), image)
    error = np.square(back.astype(float) - image).mean()
    assert 10 * np.log10(255**2 / error) > 30


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nothing is downloaded"):
        load_autoencoder(str(tmp_path / "none"))
    with pytest.raises(BundleError, match="holds no autoencoder"):
        load_autoencoder(str(tmp_path))
    with pytest.raises(BundleError, match="TAESD"):
        TinyPair({"14.bias": torch.zeros(4)}, {})
    with pytest.raises(BundleError, match=r"unet/config\.json"):
        load_diffusion(str(tmp_path))
    for generator in (VAERoundTrip, AnchorLatent):
        with pytest.raises(InputError, match="weights=FOLDER"):
            generator()


# --- diffusion -------------------------------------------------------------------------------------------------------


def test_how_many_steps_are_run() -> None:
    assert [steps_run(10, s) for s in (0.2, 0.5, 1.0)] == [2, 5, 10]
    for strength in (0.05, 0.0, 1.1):
        with pytest.raises(InputError, match="runs no step"):
            steps_run(10, strength)
    with pytest.raises(InputError):
        AnchorLatent(weights="untrained", strengths=[0.01], steps=30)


def test_noise_and_guidance_by_hand() -> None:
    # sqrt(0.64) 5 + sqrt(0.36) (-1) = 4 - 0.6; 1 + 3 (2 - 1) = 4
    assert noised(torch.tensor(5.0), torch.tensor(-1.0), 0.64).item() == pytest.approx(3.4)
    assert guided(torch.tensor(1.0), torch.tensor(2.0), 3.0).item() == 4.0


class Counting(torch.nn.Module):
    """A network that says no noise, and remembers what it was asked."""

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.config, self.seen = model.unet.config, list[tuple[Tensor, int]]()

    def forward(self, x: Tensor, t: int, encoder_hidden_states: Tensor | None = None) -> object:
        self.seen.append((x.clone(), int(t)))
        out = torch.zeros(len(x), int(self.config.out_channels), *x.shape[2:])  # type: ignore[union-attr,arg-type]
        return type("Made", (), {"sample": out})


def picture(side: int = 64) -> Pixels:
    return face("collins", InputSpec(size=side, margin=1.3))[0]


@pytest.mark.parametrize(("strength", "calls"), [(0.2, 2), (0.5, 5), (1.0, 10)])
def test_the_start_latent_and_the_end_in_closed_form(strength: float, calls: int) -> None:
    """Where the network says no noise, DDIM only rescales: z_0 = sqrt(abar_0 / abar_t0) z_t0."""
    model, image = untrained(), picture()
    net = model.unet = Counting(model)
    made = from_anchor(model, image, strength, np.random.default_rng(7), steps=10)
    assert len(net.seen) == calls
    first, t0 = net.seen[0]
    abar = model.scheduler.alphas_cumprod
    noise = torch.from_numpy(np.random.default_rng(7).standard_normal(first.shape, dtype=np.float32))
    z0 = model.autoencoder.encode(as_tensor(image))
    start = abar[t0].sqrt() * z0 + (1 - abar[t0]).sqrt() * noise
    torch.testing.assert_close(first, start, rtol=0, atol=1e-5)
    end = start * (abar[0] / abar[t0]).sqrt()  # its schedule ends at abar_0
    np.testing.assert_allclose(made, as_pixels(model.autoencoder.decode(end), 64, 64), atol=1)


def test_the_weaker_the_strength_the_more_of_the_anchor_is_kept() -> None:
    model, image = untrained(), picture().astype(float)
    gaps = [
        np.abs(from_anchor(model, picture(), s, np.random.default_rng(0), steps=10) - image).mean()
        for s in (0.1, 0.3, 0.6, 1.0)
    ]
    assert gaps == sorted(gaps)
    assert gaps[0] < 0.5 * gaps[-1]


def test_it_is_diffusers_own_image_to_image(tmp_path: Path) -> None:
    """StableDiffusionImg2ImgPipeline with a tiny random text-conditioned model, read back from its folder."""
    torch.manual_seed(0)
    vae = tiny("AutoencoderKL")
    unet = diffusers.UNet2DConditionModel(
        sample_size=32, block_out_channels=(8, 8), layers_per_block=1, cross_attention_dim=16, norm_num_groups=4,
        attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    scheduler = untrained().scheduler
    pipe = diffusers.StableDiffusionImg2ImgPipeline(
        vae, None, None, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    for name, part in (("vae", vae), ("unet", unet), ("scheduler", scheduler)):
        part.save_pretrained(tmp_path / name)
    with pytest.raises(BundleError, match="no text encoder"):
        load_diffusion(str(tmp_path))
    words = torch.randn(2, 3, 16)
    autoencoder = load_autoencoder(str(tmp_path))
    model = LatentDiffusion(autoencoder, unet.eval(), scheduler, lambda prompts: words, 64)
    image, rng = picture(), np.random.default_rng(5)
    ours = from_anchor(model, image, 0.5, rng, "", 3.0, steps=4)
    noise = np.random.default_rng(5).standard_normal((1, 4, 32, 32), dtype=np.float32)
    z0 = autoencoder.encode(as_tensor(image)).detach()
    scheduler.set_timesteps(4)
    start = scheduler.add_noise(z0, torch.from_numpy(noise), scheduler.timesteps[2:3])

    def prepared(*_: object) -> Tensor:
        return start  # theirs draws the noise from torch's generator

    pipe.prepare_latents = prepared
    theirs = pipe(
        image=2 * as_tensor(image) - 1, strength=0.5, num_inference_steps=4, guidance_scale=3.0, output_type="pt",
        prompt_embeds=words[:1], negative_prompt_embeds=words[1:],
    ).images  # fmt: skip
    np.testing.assert_allclose(ours, as_pixels(theirs, 64, 64), atol=1)


def test_only_the_hole_is_painted_and_the_known_is_put_back_at_each_step() -> None:
    model, image = untrained(), picture()
    net = model.unet = Counting(model)
    hole = np.zeros((64, 64), bool)
    hole[16:32, 16:32] = True
    made = painted(model, image, hole, np.random.default_rng(0), count=4)
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 18, 16, 16), dtype=np.float32))
    z0 = model.autoencoder.encode(as_tensor(image))
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[4:8, 4:8] = False
    for x, t in net.seen[1:]:
        known = noised(z0, noise, float(model.scheduler.alphas_cumprod[t]))
        torch.testing.assert_close(x[..., outside], known[..., outside])
    back = round_trip(model.autoencoder, image)  # abar_0 = 0.999 leaves a little noise
    assert np.abs(made[~hole].astype(int) - back[~hole]).mean() < 4
    assert np.abs(made[hole].astype(int) - back[hole]).mean() > 20


def test_a_model_with_a_mask_in_its_input_is_given_mask_and_known() -> None:
    model, image = untrained(masked=True), picture()
    net = model.unet = Counting(model)
    hole = np.zeros((64, 64), bool)
    hole[:8, :8] = True
    painted(model, image, hole, np.random.default_rng(0), count=2)
    x, _ = net.seen[0]
    assert x.shape[1] == 37
    assert x[0, 18].sum() == 4  # 2 x 2 latents of the hole
    hidden = image.copy()
    hidden[:8, :8] = 0
    grey = as_tensor(hidden)
    grey[..., :8, :8] = 0.5
    torch.testing.assert_close(x[:, 19:], model.autoencoder.encode(grey))


def test_regions_lie_where_they_should() -> None:
    _, points, _ = face("collins", InputSpec(size=128, margin=1.6))
    inside, behind, clothes = (region(points, name, 128) for name in ("face", "background", "clothes"))
    assert not (inside * behind).any()
    assert not (inside * clothes).any()
    assert not (behind * clothes).any()
    nose = points.points[30].round().astype(int)
    assert inside[nose[1], nose[0]] == 1
    assert behind[0, 0] == 1
    assert clothes[-1].all()
    rng = np.random.default_rng(0)
    hole = stroke(behind, points.eyes, rng)
    assert 0 < hole.sum() < 0.6 * behind.sum()
    assert not (hole * (1 - behind)).any()
    assert (soft(hole, 2)[hole > 0] == 1).all()
    assert stroke(np.zeros((64, 64), np.float32), 20, rng).sum() == 0


def test_inpainting_by_a_model_leaves_all_else_bitwise_real() -> None:
    image, points, _ = face("hopper", InputSpec(size=128, margin=1.3))
    maker = Inpaint(weights="untrained", regions=["face"], steps=3, whole=1.0)
    made = maker(image, points, np.random.default_rng(0))
    np.testing.assert_array_equal(made.image[made.mask == 0], image[made.mask == 0])
    assert made.details == {"region": "face", "fill": "diffusion"}
    assert "DDIMScheduler" in maker.origin().scheduler
    away = type(points)(points.points + np.float32([0, 20]))
    with pytest.raises(Unforgeable):
        Inpaint(regions=["clothes"])(image, away, np.random.default_rng(0))


# --- a subject -------------------------------------------------------------------------------------------------------


def test_dreambooth_by_hand() -> None:
    """Errors (1, 3) of the subject and (2,) of the class, one number each: (1 + 9) / 2 + w 4."""
    made, target = torch.tensor([1.0, 3.0, 2.0]).view(3, 1, 1, 1), torch.zeros(3, 1, 1, 1)
    assert dreambooth_loss(made, target, 2, 1.0).item() == 9
    assert dreambooth_loss(made, target, 2, 0.5).item() == 7
    assert dreambooth_loss(made[:2], target[:2], 2).item() == 5


def test_only_adapters_learn_and_a_saved_subject_comes_back(tmp_path: Path) -> None:
    model = untrained()
    before = {name: value.clone() for name, value in model.unet.state_dict().items()}
    z = torch.randn(3, 18, 16, 16)
    t = torch.tensor([5, 5, 5])
    first = model.predicted(z, t)
    adapters = anchored.add_adapter(model, rank=2)
    assert {p.shape[0] for p in adapters} | {p.shape[1] for p in adapters} == {2, 16}
    torch.testing.assert_close(model.predicted(z, t), first)  # B is zero at first
    losses: list[float] = []
    anchored.learn_subject(model, z[:1], z[1:], steps=3, batch=1, lr=1e-2, told=lambda step, loss: losses.append(loss))
    after = {n.replace(".base_layer", ""): v for n, v in model.unet.state_dict().items() if "lora_" not in n}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert len(losses) == 3
    learnt = model.predicted(z, t).detach()
    assert (learnt - first).abs().max() > 1e-4
    anchored.save_subject(model, tmp_path / "subject.safetensors")
    again = untrained()
    anchored.load_subject(again, tmp_path / "subject.safetensors")
    torch.testing.assert_close(again.predicted(z, t), learnt, rtol=0, atol=1e-6)
    maker = AnchorLatent(weights="untrained", lora=str(tmp_path / "subject.safetensors"))
    assert list(maker.origin().weights) == ["subject.safetensors"]
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(BundleError):
        anchored.load_subject(untrained(), tmp_path / "other.safetensors")


def test_prompts_of_generators_are_checked_when_they_are_made() -> None:
    for maker in (AnchorLatent, Inpaint):
        with pytest.raises(InputError, match="vocabulary"):
            maker(weights="untrained", prompt="a photo of marie curie")
