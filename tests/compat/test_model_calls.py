"""One counted call of a model, as the drop-ins make it."""

import torch
from torch import nn

from opflops.compat.model_calls import count_call


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False)

    def forward(self, x):
        return self.head(self.encoder(x))

    def encode(self, x, scale=1.0):
        return self.encoder(x) * scale


def test_a_call_has_the_names_of_the_model():
    """Those below it, and "" for the model itself; what the model returned is there."""
    counted = count_call(Model(), [torch.ones(2, 4)])
    assert counted.output.shape == (2, 2)
    assert {name: cost.macs for name, cost in counted.inclusive().items()} == {"": 36, "encoder": 24, "head": 12}


def test_a_method_that_calls_a_part_first_has_the_names_of_the_model():
    """The model itself was not called, and the part is below it nevertheless."""
    model = Model()
    counted = count_call(model, [torch.ones(2, 4)], {"scale": 2.0}, call=model.encode)
    assert counted.root == "Model"
    assert counted.relative(counted.profile.called[0]) == "encoder"
    assert counted.inclusive()["encoder"].macs == 24


def test_a_wrapped_model_has_the_name_of_the_model_inside():
    """As in the profile."""
    counted = count_call(nn.DataParallel(Model()), [torch.ones(2, 4)])
    assert counted.inclusive()[""].macs == 36


class Changing(Model):
    def forward(self, x):
        out = super().forward(x)
        self.__class__ = Model
        return out


def test_a_model_whose_class_changes_has_its_first_name():
    """As in the profile: a lazy module, too, and its parts have the names below it."""
    counted = count_call(Changing(), [torch.ones(2, 4)])
    assert counted.root == "Changing"
    assert {name: cost.macs for name, cost in counted.inclusive().items()} == {"": 36, "encoder": 24, "head": 12}
    assert count_call(nn.LazyLinear(3), [torch.ones(2, 4)]).inclusive()[""].macs == 24
