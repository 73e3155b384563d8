"""Networks of inverted residuals: narrow between blocks, wide and depthwise inside them."""

from __future__ import annotations

from torch import nn


def convolution(inputs, outputs, kernel, activation, stride=1, groups=1):
    """List a convolution, its norm and its activation."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return [*layers, activation()] if activation else layers


class SqueezeExcitation(nn.Module):
    """Hu et al. (2017): weigh the channels of an image by what they hold on average."""

    def __init__(self, channels, squeezed, activation, gate):
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            activation(),
            nn.Conv2d(squeezed, channels, 1),
            gate(),
        )

    def forward(self, x):
        return x * self.layers(x)


class InvertedResidual(nn.Module):
    """Widen unless it is as wide already, convolve each channel, weigh the channels if asked to, narrow."""

    def __init__(self, inputs, hidden, outputs, kernel, stride, activation, squeeze=None):
        super().__init__()
        layers = [] if hidden == inputs else convolution(inputs, hidden, 1, activation)
        layers += convolution(hidden, hidden, kernel, activation, stride, groups=hidden)
        layers += [squeeze] if squeeze else []
        self.layers = nn.Sequential(*layers, *convolution(hidden, outputs, 1, None))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNetV2(nn.Module):
    """Sandler et al. (2018)."""

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
        layers, inputs = convolution(3, 32, 3, nn.ReLU6, 2), 32
        for expand, outputs, count, stride in table:
            for index in range(count):
                step = stride if index == 0 else 1
                layers.append(InvertedResidual(inputs, inputs * expand, outputs, 3, step, nn.ReLU6))
                inputs = outputs
        self.features = nn.Sequential(*layers, *convolution(320, 1280, 1, nn.ReLU6))
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class MobileNetV3(nn.Module):
    """Howard et al. (2019), the large one."""

    def __init__(self):
        super().__init__()
        relu, swish = nn.ReLU, nn.Hardswish
        # Kernel, width inside, width outside, channels of the squeeze, activation, stride: table 1 of the paper.
        table = [
            (3, 16, 16, 0, relu, 1),
            (3, 64, 24, 0, relu, 2),
            (3, 72, 24, 0, relu, 1),
            (5, 72, 40, 24, relu, 2),
            (5, 120, 40, 32, relu, 1),
            (5, 120, 40, 32, relu, 1),
            (3, 240, 80, 0, swish, 2),
            (3, 200, 80, 0, swish, 1),
            (3, 184, 80, 0, swish, 1),
            (3, 184, 80, 0, swish, 1),
            (3, 480, 112, 120, swish, 1),
            (3, 672, 112, 168, swish, 1),
            (5, 672, 160, 168, swish, 2),
            (5, 960, 160, 240, swish, 1),
            (5, 960, 160, 240, swish, 1),
        ]
        layers, inputs = convolution(3, 16, 3, swish, 2), 16
        for kernel, hidden, outputs, squeezed, activation, stride in table:
            squeeze = SqueezeExcitation(hidden, squeezed, relu, nn.Hardsigmoid) if squeezed else None
            layers.append(InvertedResidual(inputs, hidden, outputs, kernel, stride, activation, squeeze))
            inputs = outputs
        self.features = nn.Sequential(*layers, *convolution(160, 960, 1, swish))
        self.classifier = nn.Sequential(nn.Linear(960, 1280), swish(), nn.Dropout(), nn.Linear(1280, 1000))

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class EfficientNetB0(nn.Module):
    """Tan and Le (2019), the network that the others are scaled from."""

    def __init__(self):
        super().__init__()
        # Expansion, width outside, blocks, stride of the first, kernel: table 1 of the paper.
        table = [
            (1, 16, 1, 1, 3),
            (6, 24, 2, 2, 3),
            (6, 40, 2, 2, 5),
            (6, 80, 3, 2, 3),
            (6, 112, 3, 1, 5),
            (6, 192, 4, 2, 5),
            (6, 320, 1, 1, 3),
        ]
        layers, inputs = convolution(3, 32, 3, nn.SiLU, 2), 32
        for expand, outputs, count, stride, kernel in table:
            for index in range(count):
                hidden, step = inputs * expand, stride if index == 0 else 1
                # The squeeze is a quarter of what comes in, not of what it has been widened to.
                squeeze = SqueezeExcitation(hidden, inputs // 4, nn.SiLU, nn.Sigmoid)
                layers.append(InvertedResidual(inputs, hidden, outputs, kernel, step, nn.SiLU, squeeze))
                inputs = outputs
        self.features = nn.Sequential(*layers, *convolution(320, 1280, 1, nn.SiLU))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, 1000))

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))
