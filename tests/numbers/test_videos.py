"""Video detectors by hand: which frames and places each part sees, and what it makes of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.detectors.altfreezing import frozen, kernels
from unmask.detectors.stil import FrameMix, differences, supplemented
from unmask.detectors.tall import blacked_out, thumbnail
from unmask.media.sampling import windows
from unmask.nn.i3d import InflatedResNet, renamed
from unmask.nn.video_encoders import VideoEncoder


def test_windows_lie_in_the_middles_of_equal_parts() -> None:
    # 100 frames, 4 parts of 25: middles 12.5, 37.5, 62.5, 87.5, less half of 10 frames.
    assert windows(100, 4, 10) == [7, 32, 57, 82]
    # 10 frames hold three windows of 3: parts of 3.33, middles 1.67, 5, 8.33, less 1.5.
    assert windows(10, 4, 3) == [0, 3, 6]
    assert windows(16, 9, 16) == [0]
    assert windows(15, 4, 16) == []


# --- I3D --------------------------------------------------------------------------------------------------------------


def pyslowfast(w: dict[str, Tensor], video: Tensor) -> Tensor:
    """The forward pass of a network of two stages of one block, written down from PySlowFast's names and sizes."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, scale, shift = (
            w[f"{name}.{p}"].view(1, -1, 1, 1, 1) for p in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = ((video - 0.5) / 0.5).permute(0, 2, 1, 3, 4)
    x = F.relu(norm("s1.pathway0_stem.bn", F.conv3d(x, w["s1.pathway0_stem.conv.weight"], None, (1, 2, 2), (2, 3, 3))))
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, stride in ((2, 1), (3, 2)):
        at = f"s{stage}.pathway0_res0"
        y = F.relu(norm(f"{at}.branch2.a_bn", F.conv3d(x, w[f"{at}.branch2.a.weight"], padding=(1, 0, 0))))
        y = F.conv3d(y, w[f"{at}.branch2.b.weight"], None, (1, stride, stride), (0, 1, 1))
        y = norm(f"{at}.branch2.c_bn", F.conv3d(F.relu(norm(f"{at}.branch2.b_bn", y)), w[f"{at}.branch2.c.weight"]))
        skip = norm(f"{at}.branch1_bn", F.conv3d(x, w[f"{at}.branch1.weight"], None, (1, stride, stride)))
        x = F.relu(y + skip)
        x = F.max_pool3d(x, (2, 1, 1)) if stage == 2 else x
    return x


def test_i3d_is_the_network_that_its_layout_says() -> None:
    torch.manual_seed(0)
    sizes = {"a": (3, 1), "b": (1, 3), "c": (1, 1)}  # kernels over time and space
    w = {"s1.pathway0_stem.conv.weight": 0.1 * torch.randn(8, 3, 5, 7, 7)}
    norms = {"s1.pathway0_stem.bn": 8}
    for stage, inside, inner in ((2, 8, 8), (3, 32, 16)):
        at = f"s{stage}.pathway0_res0"
        for letter, a, b in (("a", inside, inner), ("b", inner, inner), ("c", inner, 4 * inner)):
            time, space = sizes[letter]
            w[f"{at}.branch2.{letter}.weight"] = 0.2 * torch.randn(b, a, time, space, space)
            norms[f"{at}.branch2.{letter}_bn"] = b
        w[f"{at}.branch1.weight"] = 0.2 * torch.randn(4 * inner, inside, 1, 1, 1)
        norms[f"{at}.branch1_bn"] = 4 * inner
    for name, width in norms.items():
        w |= {f"{name}.{p}": torch.rand(width) + 0.5 for p in ("weight", "running_var")}
        w |= {f"{name}.{p}": 0.1 * torch.randn(width) for p in ("bias", "running_mean")}
        w[f"{name}.num_batches_tracked"] = torch.tensor(1)
    ours = InflatedResNet("tiny-i3d").eval()
    ours.load_state_dict(renamed({f"resnet.{k}": v for k, v in w.items()}))
    video = torch.rand(2, 4, 3, 32, 32)
    torch.testing.assert_close(ours(video), pyslowfast(w, video), atol=1e-4, rtol=1e-4)


def test_without_kernels_over_space_a_place_sees_its_own_surroundings_of_poolings_alone() -> None:
    network, video = InflatedResNet("tiny-i3d", temporal=True).eval(), torch.rand(1, 4, 3, 32, 32)
    other = video.clone()
    other[..., 20:, 20:] = 0.0
    with torch.no_grad():
        one, two = network(video), network(other)
    assert one.shape == (1, 64, 4, 4, 4)  # all frames are there, and an eighth of the side
    # Four maps of 32 / 8 places: the first two of a side come of pixels 0 .. 15, and one row of the 3 x 3 pooling.
    assert torch.equal(one[..., :2, :2], two[..., :2, :2])
    assert not torch.equal(one, two)


# --- AltFreezing ------------------------------------------------------------------------------------------------------


def test_kernels_over_space_and_time_stand_still_in_turn() -> None:
    network = nn.Sequential(nn.Conv3d(1, 1, (1, 3, 3)), nn.Conv3d(1, 1, (3, 1, 1)), nn.Conv3d(1, 1, 1))
    (space,), (time,) = kernels(network)
    assert (space.shape[2:], time.shape[2:]) == ((1, 3, 3), (3, 1, 1))
    # Two steps in which space learns, one in which time does: what stands still in steps 0 .. 5.
    still = [frozen(network, step, 2, 1)[0] for step in range(6)]
    assert [one is time for one in still] == [True, True, False, True, True, False]


# --- TALL -------------------------------------------------------------------------------------------------------------


def test_four_frames_become_the_quarters_of_one_image() -> None:
    video = torch.zeros(1, 4, 3, 4, 4)
    for frame in range(4):
        video[0, frame] = frame + 1
    video[0, 0, :, 0, 0] = 5  # of the first frame's first 2 x 2 pixels one is 5: (5 + 3 x 1) / 4 = 2
    image = thumbnail(video, 2)
    assert image.shape == (1, 3, 4, 4)
    torch.testing.assert_close(image[0, 0], torch.tensor([[2.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]))


def test_the_same_square_is_black_in_all_frames_of_a_window() -> None:
    torch.manual_seed(0)
    shown = blacked_out(torch.ones(5, 4, 3, 8, 8), 3)
    assert ((shown == 0).sum((2, 3, 4)) == 3 * 9).all()
    assert (shown == shown[:, :1, :1]).all()
    assert not (shown == shown[:1]).all()  # each window's own


# --- STIL -------------------------------------------------------------------------------------------------------------


def test_a_frame_is_compared_with_the_smoothed_next_one() -> None:
    x, smooth = torch.tensor([[[[1.0, 2.0, 4.0]]]]), torch.tensor([[[[0.0, 3.0, 7.0]]]])
    assert differences(x, smooth).flatten().tolist() == [
        2.0,
        5.0,
        0.0,
    ]  # 3 - 1, 7 - 2, and nothing comes after the last


def test_at_first_an_eighth_of_the_channels_comes_from_the_next_frame_and_another_from_the_one_before() -> None:
    maps = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 8, 2, 2) + 1  # frames 1, 2, 3
    mixed = FrameMix(8, 3)(maps)
    assert mixed[:, 0, 0, 0].tolist() == [2.0, 3.0, 0.0]
    assert mixed[:, 1, 0, 0].tolist() == [0.0, 1.0, 2.0]
    assert torch.equal(mixed[:, 2:], maps[:, 2:])


def test_a_channel_is_weighed_by_the_means_of_itself_and_its_neighbours() -> None:
    conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)
    nn.init.constant_(conv.weight, 1.0)
    maps = torch.tensor([0.0, 1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    # Means 0, 1, -1: sums of neighbours 1, 0, 0; sigmoid(0) = 1/2.
    assert supplemented(maps, conv)[0, :, 0, 0].tolist() == [0.0, 0.5, -0.5]


# --- transformers' encoders -------------------------------------------------------------------------------------------


def test_of_a_long_window_xclips_frames_exchange_messages_in_its_own_length() -> None:
    torch.manual_seed(0)
    encoder = VideoEncoder("tiny-xclip", frames=8).eval()  # made for 4
    video = torch.rand(1, 8, 3, 32, 32)
    with torch.no_grad():
        both = [encoder(part) for part in video.split(4, 1)]
        torch.testing.assert_close(encoder(video), (both[0] + both[1]) / 2)
