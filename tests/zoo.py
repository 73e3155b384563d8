"""Well-known networks, built from their papers, with the layers that their published figures count."""

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


class MobileNetV2(nn.Module):
    """Sandler et al. (2018): inverted residuals with depthwise convolutions."""

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride, expand):
            super().__init__()
            hidden = inputs * expand
            layers = (
                [] if expand == 1 else [nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]
            )
            layers += [
                nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(),
                nn.Conv2d(hidden, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            ]
            self.layers = nn.Sequential(*layers)
            self.residual = stride == 1 and inputs == outputs

        def forward(self, x):
            return x + self.layers(x) if self.residual else self.layers(x)

    def __init__(self):
        super().__init__()
        table = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]
        layers = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
        inputs = 32
        for expand, outputs, count, stride in table:
            for index in range(count):
                layers.append(self.Block(inputs, outputs, stride if index == 0 else 1, expand))
                inputs = outputs
        self.features = nn.Sequential(*layers, nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6())
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class Attention(nn.Module):
    def __init__(self, width, heads, *, causal):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """A pre-norm block: attention and a feed-forward four times as wide."""

    def __init__(self, width, heads, *, causal):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Dosovitskiy et al. (2020), base size with patches of 16."""

    def __init__(self, width=768, heads=12, depth=12, patch=16, image=224):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads, causal=False) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class GPT(nn.Module):
    """Radford et al. (2019), GPT-2 of 124 million parameters, with the output tied to the token table."""

    def __init__(self, vocabulary=50257, context=1024, width=768, heads=12, depth=12):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads, causal=True) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x)))


def resnet18():
    return ResNet([2, 2, 2, 2], bottleneck=False)


def resnet50():
    return ResNet([3, 4, 6, 3], bottleneck=True)


def resnext50():
    return ResNet([3, 4, 6, 3], bottleneck=True, groups=32, width_per_group=4)
