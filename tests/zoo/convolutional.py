"""Networks of convolutions, from AlexNet to ConvNeXt."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class AlexNet(nn.Module):
    """Krizhevsky (2014), "One weird trick for parallelizing convolutional neural networks"."""

    def __init__(self):
        super().__init__()
        channels = [
            (3, 64, 11, 4, 2),
            (64, 192, 5, 1, 2),
            (192, 384, 3, 1, 1),
            (384, 256, 3, 1, 1),
            (256, 256, 3, 1, 1),
        ]
        layers = []
        for index, (inputs, outputs, kernel, stride, padding) in enumerate(channels):
            layers += [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU(inplace=True)]
            if index in (0, 1, 4):
                layers.append(nn.MaxPool2d(3, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, 1000),
        )

    def forward(self, x):
        return self.classifier(functional.adaptive_avg_pool2d(self.features(x), 6).flatten(1))


class VGG16(nn.Module):
    """Simonyan and Zisserman (2014), configuration D."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for outputs in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            if outputs:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Residual(nn.Module):
    """A residual block of He et al. (2015): two 3x3 convolutions, or a bottleneck of three."""

    def __init__(self, inputs, width, outputs, stride, groups, *, bottleneck):
        super().__init__()
        shapes = (
            [(inputs, width, 1, 1, 1), (width, width, 3, stride, groups), (width, outputs, 1, 1, 1)]
            if bottleneck
            else [(inputs, outputs, 3, stride, 1), (outputs, outputs, 3, 1, 1)]
        )
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel, step, kernel // 2, groups=group, bias=False) for a, b, kernel, step, group in shapes
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _, b, *_ in shapes)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x):
        out = x
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            out = norm(conv(out))
            if index + 1 < len(self.convs):
                out = functional.relu(out)
        return functional.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """He et al. (2015), with the stride of a bottleneck in its 3x3 convolution; ResNeXt of Xie et al. (2016)."""

    def __init__(self, blocks, *, bottleneck, groups=1, width_per_group=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        expansion = 4 if bottleneck else 1
        stages, inputs = [], 64
        for stage, count in enumerate(blocks):
            base = 64 * 2**stage
            width = base * width_per_group // 64 * groups
            stage_blocks = []
            for index in range(count):
                stride = 2 if stage and index == 0 else 1
                stage_blocks.append(Residual(inputs, width, base * expansion, stride, groups, bottleneck=bottleneck))
                inputs = base * expansion
            stages.append(nn.Sequential(*stage_blocks))
        self.layers = nn.Sequential(*stages)
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(functional.adaptive_avg_pool2d(self.layers(x), 1).flatten(1))


class DenseLayer(nn.Module):
    """A layer of Huang et al. (2016): as many new channels as the growth, by way of four times as many."""

    def __init__(self, inputs, growth):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x):
        return torch.cat([x, self.layers(x)], 1)


class DenseNet(nn.Module):
    """Huang et al. (2016), DenseNet-121: every layer sees all before it; half the channels pass between blocks."""

    def __init__(self, blocks=(6, 12, 24, 16), growth=32):
        super().__init__()
        channels = 2 * growth
        layers = [nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        layers.append(nn.MaxPool2d(3, 2, 1))
        for index, count in enumerate(blocks):
            if index:
                halved = channels // 2
                layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, halved, 1, bias=False)]
                layers.append(nn.AvgPool2d(2))
                channels = halved
            layers += [DenseLayer(channels + growth * layer, growth) for layer in range(count)]
            channels += growth * count
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of an image."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x + (self.scale * self.mlp(self.norm(self.depthwise(x).movedim(1, -1)))).movedim(-1, 1)


class ConvNeXt(nn.Module):
    """Liu et al. (2022), the tiny one: depthwise convolutions where a transformer has attention."""

    def __init__(self, blocks=(3, 3, 9, 3), width=96):
        super().__init__()
        layers = [nn.Conv2d(3, width, 4, 4), ChannelNorm(width)]
        for index, count in enumerate(blocks):
            if index:
                layers += [ChannelNorm(width), nn.Conv2d(width, 2 * width, 2, 2)]
                width *= 2
            layers += [ConvNeXtBlock(width) for _ in range(count)]
        self.features = nn.Sequential(*layers)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x):
        return self.head(self.norm(self.features(x).mean([2, 3])))


def resnet18():
    return ResNet([2, 2, 2, 2], bottleneck=False)


def resnet50():
    return ResNet([3, 4, 6, 3], bottleneck=True)


def resnext50():
    return ResNet([3, 4, 6, 3], bottleneck=True, groups=32, width_per_group=4)
