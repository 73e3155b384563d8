"""Well-known networks, built from their papers, with the layers that their published figures count."""

from zoo.convolutional import VGG16, AlexNet, ConvNeXt, DenseNet, ResNet, resnet18, resnet50, resnext50
from zoo.mobile import EfficientNetB0, MobileNetV2, MobileNetV3
from zoo.transformers import GPT, Swin, SwinBlock, ViT

__all__ = [
    "GPT",
    "VGG16",
    "AlexNet",
    "ConvNeXt",
    "DenseNet",
    "EfficientNetB0",
    "MobileNetV2",
    "MobileNetV3",
    "ResNet",
    "Swin",
    "SwinBlock",
    "ViT",
    "resnet18",
    "resnet50",
    "resnext50",
]
