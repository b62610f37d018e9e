#!/usr/bin/env python3
"""PyTorch on the dense stages of the nuScenes models, as a peer of the CUDA engine's times.

usage: dense_peer.py [--compile] > peer.json      needs torch with CUDA
       dense_peer.py --device cpu --small         the same code on small maps without a GPU; the times mean nothing

SECOND with SECONDFPN, 1 x 256 x 180 x 180 in and 1 x 512 x 180 x 180 out, the dense part of the head on that output,
and the camera stages: Swin-T on six images of 256 x 704 with PyTorch's fused attention, LSSFPN, depth network with the
layers of the depth image, pooling, down-sampling, ConvFuser, raw images to network inputs, and depth images.
Random weights, batch norms folded into biases, fp16, channels last, cuDNN choosing by trial. Each stage is
captured in a CUDA graph and replayed REPLAYS times between two events: the median of ROUNDS such means, in
microseconds. That is how gpu-suite times ours. Of stages that can be written in two ways the faster counts.
--compile hands SECOND and the head to torch.compile (max-autotune) first and leaves the camera stages out.
"""
import argparse
import contextlib
import dataclasses
import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

REPLAYS = 20
ROUNDS = 15
# Layers of the original's defaults: SECOND has one entry and five further convolutions in each of two stages.
FURTHER = 5
WINDOW = 7
# Added to the scores of tokens that the shift brought together.
APART = -100.0
# The fused attention wants rows of its bias at multiples of this many values.
BIAS_ALIGNMENT = 8
DEPTH_BINS, DEPTH_START, DEPTH_STEP = 118, 1.0, 0.5
CONTEXT = 80
# Raw pixels for so many pixels of the network: a resize by 0.48.
RAW_STEP, NETWORK_STEP = 25, 12


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Height, width where there are two numbers."""
    cameras: int = 6
    raw: tuple = (900, 1600)
    image: tuple = (256, 704)
    pooled: int = 360
    points: int = 214_000

    @property
    def features(self):
        return self.image[0] // 8, self.image[1] // 8

    @property
    def bev(self):
        return self.pooled // 2


SMALL = Sizes(cameras=2, raw=(225, 400), image=(64, 128), pooled=48, points=3_000)


def conv(channels_in, channels_out, kernel=3, stride=1, relu=True):
    layers = [nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class BevDecoder(nn.Module):
    """SECOND and SECONDFPN."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Sequential(conv(256, 128), *(conv(128, 128) for _ in range(FURTHER)))
        self.coarse = nn.Sequential(conv(128, 256, stride=2), *(conv(256, 256) for _ in range(FURTHER)))
        self.fine_out = conv(128, 256, kernel=1)
        self.coarse_out = nn.Sequential(nn.ConvTranspose2d(256, 256, 2, 2), nn.ReLU(inplace=True))

    def forward(self, bev):
        fine = self.fine(bev)
        return torch.cat([self.fine_out(fine), self.coarse_out(self.coarse(fine))], dim=1)


class HeadMaps(nn.Module):
    """Shared features, heatmap, keys and values of the TransFusion head."""

    def __init__(self):
        super().__init__()
        self.shared = conv(512, 128, relu=False)
        self.heatmap = nn.Sequential(conv(128, 128), conv(128, 10, relu=False))
        self.key_value = conv(128, 256, kernel=1, relu=False)

    def forward(self, features):
        shared = self.shared(features)
        return shared, self.heatmap(shared), self.key_value(shared)


def window_regions(height, width):
    """Region of each token of each window after the shift: tokens of different regions do not see each other."""
    def stripes(extent):
        place = torch.arange(extent)
        return (place >= extent - WINDOW).long() + (place >= extent - WINDOW // 2).long()
    regions = 3 * stripes(height)[:, None] + stripes(width)[None]
    rows = regions.view(height // WINDOW, WINDOW, width // WINDOW, WINDOW)
    return rows.transpose(1, 2).reshape(-1, WINDOW * WINDOW)


class SwinBlock(nn.Module):
    """Attention in windows of 7 x 7 tokens, then two linear layers; every other block shifts its windows by 3."""

    def __init__(self, channels, heads, size, is_shifted, images):
        super().__init__()
        self.heads, self.shift = heads, WINDOW // 2 if is_shifted else 0
        self.margin = [-extent % WINDOW for extent in size]
        self.before, self.behind = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.register_buffer("bias", self.biases(size, images), persistent=False)

    def biases(self, size, images):
        """By relative position, plus what the shift keeps apart: windows, heads, 49, 49 in padded rows."""
        tokens = WINDOW * WINDOW
        table = 0.02 * torch.randn((2 * WINDOW - 1) ** 2, self.heads)
        place = torch.cartesian_prod(torch.arange(WINDOW), torch.arange(WINDOW))
        apart = place[:, None] - place[None] + WINDOW - 1
        bias = table[apart[..., 0] * (2 * WINDOW - 1) + apart[..., 1]].permute(2, 0, 1)[None]
        if self.shift:
            regions = window_regions(*(extent + more for extent, more in zip(size, self.margin)))
            bias = bias + APART * (regions[:, None, :, None] != regions[:, None, None, :])
            bias = bias.repeat(images, 1, 1, 1)
        padded = bias.new_zeros(*bias.shape[:-1], tokens + -tokens % BIAS_ALIGNMENT)
        padded[..., :tokens] = bias
        # Of three axes, because channels last would take four for a map.
        return padded.flatten(0, 1)

    def attention(self, windows):
        count, tokens, channels = windows.shape
        parts = self.query_key_value(windows).view(count, tokens, 3, self.heads, channels // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        bias = self.bias.view(-1, self.heads, *self.bias.shape[1:])[..., :tokens].expand(count, -1, -1, -1)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out(found.transpose(1, 2).reshape(count, tokens, channels))

    def forward(self, tokens):
        images, height, width, channels = tokens.shape
        x = F.pad(self.before(tokens), (0, 0, 0, self.margin[1], 0, self.margin[0]))
        rows, columns = x.shape[1] // WINDOW, x.shape[2] // WINDOW
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        x = x.view(images, rows, WINDOW, columns, WINDOW, channels).transpose(2, 3)
        x = self.attention(x.reshape(-1, WINDOW * WINDOW, channels))
        x = x.view(images, rows, columns, WINDOW, WINDOW, channels).transpose(2, 3)
        x = x.reshape(images, rows * WINDOW, columns * WINDOW, channels)
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        tokens = tokens + x[:, :height, :width]
        return tokens + self.mlp(self.behind(tokens))


class SwinT(nn.Module):
    """Images to the maps of the last three stages."""

    DEPTHS, HEADS, CHANNELS = (2, 2, 6, 2), (3, 6, 12, 24), 96

    def __init__(self, sizes):
        super().__init__()
        self.embed, self.embed_norm = nn.Conv2d(3, self.CHANNELS, 4, 4), nn.LayerNorm(self.CHANNELS)
        self.stages, self.merges, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(self.DEPTHS, self.HEADS)):
            channels, size = self.CHANNELS << stage, [extent >> 2 + stage for extent in sizes.image]
            blocks = (SwinBlock(channels, heads, size, block % 2 == 1, sizes.cameras) for block in range(depth))
            self.stages.append(nn.Sequential(*blocks))
            if stage > 0:
                self.merges.append(nn.Sequential(nn.LayerNorm(2 * channels), nn.Linear(2 * channels, channels, bias=False)))
                self.norms.append(nn.LayerNorm(channels))

    def forward(self, images):
        x = self.stages[0](self.embed_norm(self.embed(images).permute(0, 2, 3, 1)))
        maps = []
        for merge, stage, norm in zip(self.merges, self.stages[1:], self.norms):
            count, height, width, channels = x.shape
            x = x.reshape(count, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)
            x = stage(merge(x.reshape(count, height // 2, width // 2, 4 * channels)))
            maps.append(norm(x).permute(0, 3, 1, 2))
        return maps


class Neck(nn.Module):
    """LSSFPN: the maps of three stages to one of 256 channels."""

    def __init__(self):
        super().__init__()
        self.coarse = nn.Sequential(conv(384 + 768, 256, kernel=1), conv(256, 256))
        self.fine = nn.Sequential(conv(192 + 256, 256, kernel=1), conv(256, 256))

    def forward(self, fine, middle, coarse):
        def joined(own, other):
            other = F.interpolate(other, size=own.shape[2:], mode="bilinear", align_corners=False)
            return torch.cat([own, other], dim=1)
        return self.fine(joined(fine, self.coarse(joined(middle, coarse))))


class DepthNet(nn.Module):
    """Probabilities of depth bins and context features, pixels first."""

    def __init__(self):
        super().__init__()
        self.of_depth = nn.Sequential(conv(1, 8, kernel=1), conv(8, 32, kernel=5, stride=4), conv(32, 64, kernel=5, stride=2))
        self.both = nn.Sequential(conv(64 + 256, 256), conv(256, 256), conv(256, DEPTH_BINS + CONTEXT, kernel=1, relu=False))

    def forward(self, depth, features):
        found = self.both(torch.cat([self.of_depth(depth), features], dim=1)).permute(0, 2, 3, 1)
        return found[..., :DEPTH_BINS].softmax(-1).contiguous(), found[..., DEPTH_BINS:].contiguous()


class Fuser(nn.Module):
    """ConvFuser."""

    def __init__(self):
        super().__init__()
        self.conv = conv(CONTEXT + 256, 256)

    def forward(self, camera, lidar):
        return self.conv(torch.cat([camera, lidar], dim=1))


class Preprocess(nn.Module):
    """Raw images, 8 bits, to network inputs: bicubic with antialiasing to 0.48 of the size, crop, normalisation.

    What the crop throws away is not resampled but for a margin that the filter may reach into."""

    MARGIN = 8

    def __init__(self, sizes, sums, made):
        super().__init__()
        self.sums, self.made = sums, made
        height, width = (extent * NETWORK_STEP // RAW_STEP for extent in sizes.raw)
        top, left = height - sizes.image[0], (width - sizes.image[1]) // 2
        self.rows, self.columns = self.part(top, height, height), self.part(left, left + sizes.image[1], width)
        mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
        for name, values in (("scale", 1 / std), ("shift", -mean / std)):
            self.register_buffer(name, values.view(1, 3, 1, 1).to(sums), persistent=False)

    def part(self, begin, end, extent):
        """Resampled begin and length, and the place of the crop in it."""
        first = max(begin - self.MARGIN, 0) // NETWORK_STEP * NETWORK_STEP
        last = min(-(-(end + self.MARGIN) // NETWORK_STEP) * NETWORK_STEP, extent)
        return first, last - first, begin - first, end - first

    def forward(self, raw):
        (top, height, y, y_end), (left, width, x, x_end) = self.rows, self.columns
        def source(begin, length):
            return slice(begin * RAW_STEP // NETWORK_STEP, (begin + length) * RAW_STEP // NETWORK_STEP)
        images = raw[:, source(top, height), source(left, width)].permute(0, 3, 1, 2).to(self.sums)
        images = F.interpolate(images, size=(height, width), mode="bicubic", antialias=True)
        images = images[..., y:y_end, x:x_end].clamp(0, 255)
        images = torch.addcmul(self.shift, images, self.scale)
        return images.to(self.made, memory_format=torch.channels_last)


def ring(sizes):
    """Matrices 3 x 4 from LiDAR points to network pixels: cameras that look outward in equal steps."""
    scale = sizes.image[1] / 704
    matrices = []
    for camera in range(sizes.cameras):
        heading = math.tau * camera / sizes.cameras
        sin, cos = math.sin(heading), math.cos(heading)
        axes = torch.tensor([[sin, -cos, 0.0], [0.0, 0.0, -1.0], [cos, sin, 0.0]])
        lens = torch.tensor([[608.0 * scale, 0.0, 352.0 * scale], [0.0, 608.0 * scale, 40.0 * scale], [0.0, 0.0, 1.0]])
        matrices.append(torch.cat([lens @ axes, lens @ torch.tensor([[0.0], [-0.3], [-0.5]])], dim=1))
    return torch.stack(matrices)


class DepthImages(nn.Module):
    """LiDAR points to one depth image per camera. Points outside get places of their own behind the images."""

    def __init__(self, sizes, is_nearest, made):
        super().__init__()
        self.sizes, self.is_nearest, self.made = sizes, is_nearest, made

    def forward(self, points, matrices):
        height, width = self.sizes.image
        pixels = self.sizes.cameras * height * width
        seen = torch.einsum("cij,nj->cni", matrices[..., :3], points[:, :3]) + matrices[:, None, :, 3]
        depth = seen[..., 2]
        column, row = (seen[..., axis] / depth.clamp(1e-5, 1e5) for axis in range(2))
        is_inside = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        first = torch.arange(self.sizes.cameras, device=points.device)[:, None] * (height * width)
        outside = pixels + torch.arange(depth.numel(), device=points.device).view_as(depth)
        place = torch.where(is_inside, first + row.long() * width + column.long(), outside).flatten()
        images = points.new_full((pixels + depth.numel(),), math.inf if self.is_nearest else 0.0)
        if self.is_nearest:
            images = images.scatter_reduce_(0, place, depth.flatten(), "amin")[:pixels]
            images = torch.where(images.isinf(), 0.0, images)
        else:
            images = images.index_put_((place,), depth.flatten())[:pixels]
        return images.view(self.sizes.cameras, 1, height, width).to(self.made)


def frustum_cells(sizes, matrices):
    """For each frustum point in the pooled map: its cell, its depth bin and its pixel."""
    (height, width), (rows, columns) = sizes.image, sizes.features
    v, u = torch.linspace(0, height - 1, rows), torch.linspace(0, width - 1, columns)
    depth = DEPTH_START + DEPTH_STEP * torch.arange(DEPTH_BINS)
    v, u, depth = torch.meshgrid(v, u, depth, indexing="ij")
    seen = torch.stack([u * depth, v * depth, depth], dim=-1) - matrices[:, None, None, None, :, 3]
    points = seen @ torch.inverse(matrices[:, :, :3]).transpose(1, 2)[:, None, None]
    step = 108 / sizes.pooled
    cell = torch.floor((points[..., :2] + 54) / step).long()
    is_inside = ((cell >= 0) & (cell < sizes.pooled)).all(-1) & (points[..., 2].abs() < 10)
    places = is_inside.flatten().nonzero()[:, 0]
    cell = (cell[..., 0] * sizes.pooled + cell[..., 1]).flatten()[places]
    return cell, places, places // DEPTH_BINS


class Pool(nn.Module):
    """Lifted features, added up by cell in float32."""

    def __init__(self, sizes, matrices, is_sorted):
        super().__init__()
        tables = frustum_cells(sizes, matrices)
        if is_sorted:
            order = tables[0].argsort(stable=True)
            tables = [table[order] for table in tables]
        self.pooled = sizes.pooled
        for name, table in zip(("cell", "bin", "pixel"), tables):
            self.register_buffer(name, table, persistent=False)

    def forward(self, probabilities, context):
        lifted = probabilities.flatten()[self.bin][:, None] * context.view(-1, CONTEXT)[self.pixel]
        cells = torch.zeros(self.pooled**2, CONTEXT, device=context.device)
        cells.index_add_(0, self.cell, lifted.float())
        return cells.to(context.dtype).view(1, self.pooled, self.pooled, CONTEXT).permute(0, 3, 1, 2)


def downsampling():
    return nn.Sequential(conv(CONTEXT, CONTEXT), conv(CONTEXT, CONTEXT, stride=2), conv(CONTEXT, CONTEXT))


def lidar_stages(sizes, maps):
    return {
        "second_fpn": [(BevDecoder(), maps(1, 256, sizes.bev, sizes.bev))],
        "head_maps": [(HeadMaps(), maps(1, 512, sizes.bev, sizes.bev))],
    }


def camera_stages(sizes, maps, device):
    """Name, and the ways to write the stage with their arguments."""
    cameras, (height, width), bev = sizes.cameras, sizes.image, sizes.bev
    rows, columns = sizes.features
    backbone = [maps(cameras, 192 << stage, rows >> stage, columns >> stage)[0] for stage in range(3)]
    depth = maps(cameras, 1, height, width)[0].abs()
    probabilities = torch.softmax(maps(cameras, DEPTH_BINS, rows, columns)[0], dim=1).permute(0, 2, 3, 1).contiguous()
    context = maps(cameras, CONTEXT, rows, columns)[0].permute(0, 2, 3, 1).contiguous()
    points = torch.rand(sizes.points, 5, device=device) * torch.tensor([90.0, 90.0, 4.0, 255.0, 0.5], device=device)
    points[:, :3] -= torch.tensor([45.0, 45.0, 2.0], device=device)
    raw = torch.randint(0, 256, (cameras, *sizes.raw, 3), dtype=torch.uint8, device=device)
    matrices = ring(sizes)
    lidar = (points, matrices.to(device))
    return {
        "swin": [(SwinT(sizes), maps(cameras, 3, height, width))],
        "lssfpn": [(Neck(), backbone)],
        "depth_net": [(DepthNet(), (depth, maps(cameras, 256, rows, columns)[0]))],
        "bev_pool": [(Pool(sizes, matrices, is_sorted), (probabilities, context)) for is_sorted in (False, True)],
        "downsample": [(downsampling(), maps(1, CONTEXT, sizes.pooled, sizes.pooled))],
        "fuser": [(Fuser(), (maps(1, CONTEXT, bev, bev)[0], maps(1, 256, bev, bev)[0]))],
        "preprocess": [(Preprocess(sizes, sums, depth.dtype), (raw,)) for sums in (torch.float32, depth.dtype)],
        "depth_images": [(DepthImages(sizes, is_nearest, depth.dtype), lidar) for is_nearest in (False, True)],
    }


def graph_microseconds(network, arguments):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            network(*arguments)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = network(*arguments)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    for measured in [False] + [True] * ROUNDS:
        start.record()
        for _ in range(REPLAYS):
            graph.replay()
        end.record()
        end.synchronize()
        if measured:
            times.append(start.elapsed_time(end) * 1e3 / REPLAYS)
    del kept
    return statistics.median(times)


def host_microseconds(network, arguments):
    """One call: whether the stage runs at all."""
    start = time.perf_counter()
    network(*arguments)
    return (time.perf_counter() - start) * 1e6


def ready(network, dtype, device):
    # The preprocessing has its own type of sums.
    network = network.eval() if isinstance(network, Preprocess) else network.eval().to(dtype)
    return network.to(device).to(memory_format=torch.channels_last)


def measure(stages, time_of, result, prepare):
    """The best way of each stage; one that cannot run is told and leaves the others alone."""
    for name, ways in stages.items():
        times = []
        for way, (network, arguments) in enumerate(ways):
            try:
                times.append(time_of(prepare(network), arguments))
            except RuntimeError as error:
                result.setdefault("failed", {})[f"{name} {way}"] = str(error).splitlines()[0]
        if times:
            result[f"{name}_us"] = round(min(times), 2)
        if len(times) > 1:
            result.setdefault("ways_us", {})[name] = [round(one, 2) for one in times]


def arguments_of_call():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="torch.compile first; takes minutes")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="small maps: to see whether the code runs")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: this torch sees no CUDA GPU")
    return given


def main():
    given = arguments_of_call()
    on_gpu = given.device == "cuda"
    started = time.monotonic()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    sizes, dtype = SMALL if given.small else Sizes(), torch.float16 if on_gpu else torch.float32

    def maps(*shape):
        return (torch.randn(*shape, device=given.device).to(dtype).contiguous(memory_format=torch.channels_last),)

    def prepare(network):
        network = ready(network, dtype, given.device)
        return torch.compile(network, mode="max-autotune-no-cudagraphs") if given.compile else network

    result = {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "compiled": given.compile,
    }
    time_of = graph_microseconds if on_gpu else host_microseconds
    # Standard output is the JSON's alone; the compiler likes to print.
    with torch.inference_mode(), contextlib.redirect_stdout(sys.stderr):
        measure(lidar_stages(sizes, maps), time_of, result, prepare)
        if not given.compile:
            measure(camera_stages(sizes, maps, given.device), time_of, result, prepare)
    result["seconds"] = round(time.monotonic() - started, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
