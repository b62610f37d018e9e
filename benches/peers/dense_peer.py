#!/usr/bin/env python3
"""PyTorch on the dense networks of the LiDAR-only nuScenes model, as a peer of the CUDA engine's times.

usage: dense_peer.py [--compile] > peer.json      needs torch with CUDA

SECOND with SECONDFPN, 1 x 256 x 180 x 180 in and 1 x 512 x 180 x 180 out, and the dense part of the head on that
output: random weights, batch norms folded into biases, fp16, channels last, cuDNN choosing by trial. Each network
is captured in a CUDA graph and replayed REPLAYS times between two events: the median of ROUNDS such means, in
microseconds. That is how gpu-suite times ours. --compile hands the networks to torch.compile (max-autotune) first.
"""
import argparse
import contextlib
import json
import statistics
import sys
import time

import torch
from torch import nn

REPLAYS = 20
ROUNDS = 15
# Layers of the original's defaults: SECOND has one entry and five further convolutions in each of two stages.
FURTHER = 5


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


def ready(network):
    return network.eval().half().cuda().to(memory_format=torch.channels_last)


def graph_microseconds(network, argument):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            network(argument)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = network(argument)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="torch.compile first; takes minutes")
    compiled = parser.parse_args().compile
    if not torch.cuda.is_available():
        sys.exit("error: this torch sees no CUDA GPU")
    started = time.monotonic()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    networks = [ready(BevDecoder()), ready(HeadMaps())]
    inputs = [torch.randn(1, channels, 180, 180, device="cuda", dtype=torch.float16) for channels in (256, 512)]
    inputs = [one.contiguous(memory_format=torch.channels_last) for one in inputs]
    # Standard output is the JSON's alone; the compiler likes to print.
    with torch.inference_mode(), contextlib.redirect_stdout(sys.stderr):
        if compiled:
            networks = [torch.compile(one, mode="max-autotune-no-cudagraphs") for one in networks]
        second_fpn, head_maps = (graph_microseconds(*pair) for pair in zip(networks, inputs))
    result = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "compiled": compiled,
        "second_fpn_us": round(second_fpn, 2),
        "head_maps_us": round(head_maps, 2),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
