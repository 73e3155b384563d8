"""The callbacks for Lightning and Hugging Face, with the real packages; their log files against counts by hand.

They need the extras ``lightning`` and ``huggingface``, and tensorboard.
"""

import csv
import logging
import re
import signal
import warnings
from collections import Counter
from pathlib import Path

import pytest
import required
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from opflops import Device, OpFlopMode
from opflops.integrations import step_clock
from opflops.integrations.rates import NAMES
from opflops.torch_internals.dispatch import dispatch_modes

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

WIDE, NARROW = 6, 5
PARAMETERS = WIDE * NARROW
MINE = Device("mine", {"float32": 1e9, "bfloat16": 4e9}, 1e9, source="made up")
SECONDS = 0.5
README = Path(__file__).parent.parent.parent / "README.md"


@pytest.fixture(autouse=True)
def _every_step_takes_half_a_second(monkeypatch):
    """The clock is read when a step begins and when it ends."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            self.now += SECONDS
            return self.now

    monkeypatch.setattr(step_clock, "time", Clock())
    monkeypatch.setattr(step_clock, "accelerator_in_use", lambda: None)
    for name in ("lightning.pytorch", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    yield
    assert dispatch_modes() == []


def products(batch):
    """Forward, and the gradient of the weight."""
    return 2 * (2 * batch * WIDE * NARROW)


def backward_flops(batch, divisions=1):
    """Products, the additions of the sum, and what divides the loss and its gradient by the batches of a step.

    Lightning divides once, the trainer of Hugging Face and accelerate once each.
    """
    return products(batch) + batch * NARROW - 1 + 2 * divisions


SGD_FLOPS = 2 * PARAMETERS


class Rows(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {"x": torch.ones(WIDE)}


def scalars(folder):
    """Read TensorBoard's event files: values by tag and step."""
    required.models("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415 - may be absent

    found = {}
    for path in Path(folder).rglob("events.out.tfevents*"):
        events = EventAccumulator(str(path))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, {}).update({each.step: each.value for each in events.Scalars(tag)})
    return found


def lightning_module(**changes):
    """A module that trains a layer; methods can be changed."""
    lightning = required.models("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(WIDE, NARROW, bias=False)

        def training_step(self, batch, batch_idx):
            return self.net(batch["x"]).sum()

        def validation_step(self, batch, batch_idx):
            self.net(batch["x"])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return type("Module", (Module,), changes)()


def fit(folder, model, size=20, logger=None, callback=None, **options):
    """Train on batches of eight, and validate after each epoch; return the rows of the CSV file, or the callback."""
    lightning = required.models("lightning.pytorch")
    from lightning.pytorch.loggers import CSVLogger  # noqa: PLC0415 - may be absent

    from opflops.integrations.lightning import FlopsCallback  # noqa: PLC0415 - as above

    callback = callback or FlopsCallback(device=MINE, tokens=lambda batch: 10 * len(batch["x"]))
    options = {"max_epochs": 3, "log_every_n_steps": 3, **options}
    trainer = lightning.Trainer(
        **options, logger=logger or CSVLogger(folder), callbacks=[callback], accelerator="cpu", devices=1,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder,
    )  # fmt: skip
    loader = DataLoader(Rows(size), batch_size=8)
    try:
        trainer.fit(model, loader, loader)
    finally:
        assert dispatch_modes() == []
    return callback


def csv_rates(folder):
    """Return the rates of each step in Lightning's CSV file that has some."""
    (path,) = Path(folder).rglob("metrics.csv")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("flops_per_s")]
    return {int(row["step"]): {name: float(row[name]) for name in NAMES if name in row} for row in rows}


def expected_rates(steps):
    """Rates of steps, each given as flops, products and samples."""
    seconds = SECONDS * len(steps)
    flops, matmuls, samples = (sum(each) for each in zip(*steps, strict=True))
    mfu = matmuls / 1e9 / seconds
    values = (flops / seconds, mfu, mfu, 10 * samples / seconds, samples / seconds)
    return pytest.approx(dict(zip(NAMES, values, strict=True)), rel=1e-12)


def test_lightning_logs_the_counts_by_hand_to_its_csv_file(tmp_path):
    """Batches of 8, 8 and 4 in each epoch, validation after it: the first of each shape is left out."""
    fit(tmp_path, lightning_module())
    of = {batch: (backward_flops(batch) + SGD_FLOPS, products(batch), batch) for batch in (8, 4)}
    assert csv_rates(tmp_path) == {
        2: expected_rates([of[8]]),
        5: expected_rates([of[8], of[8], of[4]]),
        8: expected_rates([of[8], of[8], of[4]]),
    }


def test_lightning_logs_to_tensorboard(tmp_path):
    """The event files have single precision."""
    required.models("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger  # noqa: PLC0415 - may be absent

    fit(tmp_path, lightning_module(), logger=TensorBoardLogger(tmp_path))
    logged = scalars(tmp_path)
    flops = 2 * backward_flops(8) + backward_flops(4) + 3 * SGD_FLOPS
    assert logged["flops_per_s"][5] * 3 * SECONDS == pytest.approx(flops, rel=1e-6)
    assert logged["samples_per_s"][5] == pytest.approx(20 / (3 * SECONDS))
    assert set(NAMES) <= set(logged)


def test_lightning_accumulates_gradients(tmp_path):
    """Two batches a step, and one in the last of an epoch; the second adds its gradient to that of the first."""
    fit(tmp_path, lightning_module(), accumulate_grad_batches=2, log_every_n_steps=2, max_epochs=4)
    first = (backward_flops(8), products(8), 8)
    second = (backward_flops(8) + PARAMETERS + SGD_FLOPS, products(8), 8)
    last = (backward_flops(4) + SGD_FLOPS, products(4), 4)
    logged = csv_rates(tmp_path)
    assert list(logged) == [3, 5, 7]
    for rates in logged.values():
        assert rates == expected_rates([first, second, last])


def test_lightning_skips_a_batch_and_freezes_the_model_in_another(tmp_path):
    """A batch without a loss costs its forward pass alone, and one with frozen weights has no gradient of theirs."""
    module = lightning_module()
    module.scale = nn.Parameter(torch.ones(()))

    def training_step(batch, batch_idx):
        kind = batch_idx % 3
        module.net.weight.requires_grad_(kind != 1)
        total = module.net(batch["x"]).sum()
        return None if kind == 2 else total * module.scale

    module.training_step = training_step
    fit(tmp_path, module, size=8 * 12, log_every_n_steps=1, max_epochs=1)
    mfu = {step: rates["mfu"] * SECONDS * 1e9 for step, rates in csv_rates(tmp_path).items()}
    forward = products(8) // 2
    expected = [2 * forward, forward, forward]
    assert {step % 3 for step in mfu} == {0, 1, 2}
    assert mfu == pytest.approx({step: expected[step % 3] for step in mfu})


def test_lightning_with_autocast(tmp_path):
    """Products in bfloat16, whose peak is four times that of float32."""
    fit(tmp_path, lightning_module(), precision="bf16-mixed", size=16)
    rates = list(csv_rates(tmp_path).values())[-1]
    assert rates["mfu"] == pytest.approx(products(8) / 4e9 / SECONDS)


def test_lightning_with_a_compiled_module(tmp_path):
    """It stays compiled: only the batch that is counted runs in eager mode."""
    torch.compiler.reset()
    eager = []

    def training_step(self, batch, batch_idx):
        if not torch.compiler.is_compiling():
            eager.append(batch_idx)
        return self.net(batch["x"]).sum()

    fit(tmp_path, torch.compile(lightning_module(training_step=training_step), backend="eager"), size=16)
    rates = list(csv_rates(tmp_path).values())[-1]
    assert rates["flops_per_s"] * SECONDS == pytest.approx(backward_flops(8) + SGD_FLOPS)
    assert eager == [0]
    torch.compiler.reset()


def test_no_mode_is_left_behind_when_lightning_skips_the_rest_of_an_epoch(tmp_path):
    """The batch before which it does so has no end."""
    modes = []

    def skip(self, batch, batch_idx):
        return -1 if batch_idx == 1 else None

    def ended(self):
        modes.append(dispatch_modes())

    model = lightning_module(on_train_batch_start=skip, on_validation_start=ended, on_train_epoch_end=ended)
    callback = fit(tmp_path, model, size=12)
    assert modes
    assert not any(modes)
    assert callback.meter.counted_steps == 1 + 3  # the first batch, and the one that is skipped, which stays unknown


def test_lightning_with_two_optimizers_by_hand(tmp_path):
    """The second steps in every other batch."""

    def configure(self):
        self.more = nn.Linear(WIDE, 2, bias=False)
        return [torch.optim.SGD(self.net.parameters(), lr=0.1), torch.optim.SGD(self.more.parameters(), lr=0.1)]

    def training_step(self, batch, batch_idx):
        optimizers = self.optimizers()
        loss = self.net(batch["x"]).sum()
        self.manual_backward(loss)
        optimizers[0].step()
        optimizers[0].zero_grad()
        if batch_idx % 2:
            self.manual_backward(self.more(batch["x"]).sum())
            optimizers[1].step()
            optimizers[1].zero_grad()

    model = lightning_module(
        configure_optimizers=configure, training_step=training_step, automatic_optimization=False, validation_step=None
    )
    fit(tmp_path, model, size=32, log_every_n_steps=4, max_epochs=4)
    both = 2 * (2 * 8 * WIDE * 2) + 8 * 2 - 1 + 2 * WIDE * 2
    each = products(8) + 8 * NARROW - 1 + SGD_FLOPS
    rates = list(csv_rates(tmp_path).values())[-1]
    assert rates["flops_per_s"] * SECONDS * 4 == pytest.approx(4 * each + 2 * both)


@pytest.mark.parametrize(("error", "failing"), [(KeyboardInterrupt, 0), (RuntimeError, 0), (RuntimeError, 1)])
def test_no_mode_is_left_behind_when_lightning_ends_with_an_error(tmp_path, error, failing):
    """Nor is anything else: the callback serves another trainer."""
    required.models("lightning.pytorch")
    from opflops.integrations.lightning import FlopsCallback  # noqa: PLC0415 - may be absent

    def training_step(self, batch, batch_idx):
        loss = self.net(batch["x"]).sum()
        if batch_idx == failing:
            raise error("on purpose")
        return loss

    callback = FlopsCallback(device=MINE)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit if error is KeyboardInterrupt else error):
            fit(tmp_path / "failing", lightning_module(training_step=training_step), callback=callback)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert dispatch_modes() == []
    callback.meter.rates()
    fit(tmp_path / "fine", lightning_module(), callback=callback)
    rates = csv_rates(tmp_path / "fine")
    assert rates[8]["flops_per_s"] * 3 * SECONDS == pytest.approx(
        2 * backward_flops(8) + backward_flops(4) + 3 * SGD_FLOPS
    )


class Model(nn.Module):
    """Be a model as Hugging Face's trainer takes it."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(WIDE, NARROW, bias=False)

    def forward(self, x):
        return {"loss": self.net(x).sum()}


def train(folder, model=None, size=20, trainer_class=None, callback=None, callbacks=None, data=None, **options):
    """Train on batches of eight, and evaluate after each epoch."""
    transformers = required.models("transformers")
    required.models("accelerate")
    from opflops.integrations.huggingface import FlopsCallback  # noqa: PLC0415 - may be absent

    callback = callback or FlopsCallback(device=MINE)
    options = {
        "num_train_epochs": 3,
        "logging_steps": 3,
        "optim": "sgd",
        "max_grad_norm": 1.0,
        "report_to": "none",
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        **options,
    }
    arguments = transformers.TrainingArguments(str(folder), per_device_train_batch_size=8, **options)
    data = data or Rows(size)
    trainer = (trainer_class or transformers.Trainer)(
        model or Model(), arguments, train_dataset=data, eval_dataset=data, callbacks=callbacks or [callback]
    )
    try:
        trainer.train()
    finally:
        assert dispatch_modes() == []
    return trainer


def clipping_flops():
    """Count what PyTorch does to clip the gradients."""
    net = nn.Linear(WIDE, NARROW, bias=False)
    net.weight.grad = torch.ones_like(net.weight)
    with OpFlopMode() as m:
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    return m.total.flops


def history(trainer):
    return {each["step"]: each for each in trainer.state.log_history if "flops_per_s" in each}


def test_hugging_face_logs_the_counts_by_hand_to_tensorboard(tmp_path):
    """Batches of 8, 8 and 4; the optimizer and clipping are counted with the first."""
    required.models("tensorboard")
    trainer = train(tmp_path, report_to=["tensorboard"])
    rest = clipping_flops() + SGD_FLOPS
    of = {batch: (backward_flops(batch, 2) + rest, products(batch), batch) for batch in (8, 4)}
    logged = scalars(tmp_path)
    for step, steps in {3: [8], 6: [8, 8, 4], 9: [8, 8, 4]}.items():
        seconds = SECONDS * len(steps)
        flops, matmuls, samples = (sum(each) for each in zip(*(of[batch] for batch in steps), strict=True))
        assert history(trainer)[step]["flops_per_s"] * seconds == pytest.approx(flops, rel=1e-12)
        assert logged["train/flops_per_s"][step] * seconds == pytest.approx(flops, rel=1e-6)
        assert logged["train/mfu"][step] * seconds == pytest.approx(matmuls / 1e9, rel=1e-6)
        assert logged["train/hfu"][step] == logged["train/mfu"][step]
        assert logged["train/samples_per_s"][step] * seconds == pytest.approx(samples, rel=1e-6)
    assert "train/tokens_per_s" not in logged, "the batches have no tokens"
    assert not any(name.startswith("eval/") and name[5:] in NAMES for name in logged)


def test_hugging_face_accumulates_gradients(tmp_path):
    """Two batches a step, and one in the last of an epoch; the second adds its gradient."""
    trainer = train(tmp_path, gradient_accumulation_steps=2, logging_steps=2, num_train_epochs=4)
    both = 2 * backward_flops(8, 2) + PARAMETERS
    flops = both + backward_flops(4, 2) + 2 * (clipping_flops() + SGD_FLOPS)
    logged = history(trainer)
    for step in (6, 8):
        assert logged[step]["flops_per_s"] * 2 * SECONDS == pytest.approx(flops, rel=1e-12)
        assert logged[step]["samples_per_s"] * 2 * SECONDS == pytest.approx(20)


class Text(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        ids = torch.arange(12)
        return {"input_ids": ids, "labels": ids, "attention_mask": (ids < 9).long()}


def llama():
    transformers = required.models("transformers")
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=32, pad_token_id=0,
        )
    )  # fmt: skip


@pytest.mark.parametrize("padding", ["no", "non_padding"])
def test_hugging_face_with_checkpointing_and_tokens(tmp_path, padding):
    """Twelve tokens a sample, of which nine are no padding; the two blocks are computed again, for HFU alone."""
    trainer = train(
        tmp_path, llama(), data=Text(), gradient_checkpointing=True, include_num_input_tokens_seen=padding, max_steps=6,
        eval_strategy="no", optim="adamw_torch",
    )  # fmt: skip
    rates = history(trainer)[6]
    assert rates["tokens_per_s"] * SECONDS == 8 * (12 if padding == "no" else 9)
    model = trainer.model
    model.gradient_checkpointing_disable()
    batch = {name: torch.stack([each[name] for each in map(Text().__getitem__, range(8))]) for name in Text()[0]}
    with OpFlopMode() as m:
        model(**batch).loss.backward()
    macs = m.profile.by("phase")
    assert rates["mfu"] * SECONDS == pytest.approx(2 * (macs["forward"].macs + macs["backward"].macs) / 1e9)
    # The last product of a block is not computed again: nothing needs its result.
    again = sum(
        row.cost.macs
        for row in m.profile.rows
        if row.phase == "forward" and ".model.layers." in row.module and not row.module.endswith("down_proj")
    )
    assert (rates["hfu"] - rates["mfu"]) * SECONDS == pytest.approx(2 * again / 1e9)


def test_hugging_face_with_a_compiled_model(tmp_path):
    """It stays compiled: only the step that is counted runs in eager mode."""
    torch.compiler.reset()
    eager = []

    class Net(Model):
        def forward(self, x):
            if not torch.compiler.is_compiling():
                eager.append(len(x))
            return super().forward(x)

    trainer = train(tmp_path, Net(), size=16, torch_compile=True, torch_compile_backend="eager", eval_strategy="no")
    assert history(trainer)[6]["flops_per_s"] * SECONDS == pytest.approx(
        backward_flops(8, 2) + clipping_flops() + SGD_FLOPS
    )
    assert eager == [8]
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("error", "where", "failing"),
    [(RuntimeError, "training_step", 0), (KeyboardInterrupt, "optimizer", 0), (RuntimeError, "callback", 1)],
)
def test_no_mode_is_left_behind_when_hugging_face_raises(tmp_path, error, where, failing):
    """Hugging Face tells no callback of an error; the callback serves another trainer."""
    transformers = required.models("transformers")
    from opflops.integrations.huggingface import FlopsCallback  # noqa: PLC0415 - may be absent

    def fail(place, step):
        if (place, step) == (where, failing):
            raise error("on purpose")

    class Trainer(transformers.Trainer):
        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            fail("training_step", self.state.global_step)
            return loss

        def create_optimizer(self, *args, **kwargs):
            optimizer = super().create_optimizer(*args, **kwargs)
            self.optimizer.register_step_pre_hook(lambda *_: fail("optimizer", self.state.global_step))
            return optimizer

    class Failing(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            fail("callback", state.global_step)

    callback = FlopsCallback(device=MINE)
    with pytest.raises(error):
        train(tmp_path, trainer_class=Trainer, callbacks=[Failing(), callback])
    trainer = train(tmp_path, callback=callback)
    flops = 2 * backward_flops(8, 2) + backward_flops(4, 2) + 3 * (clipping_flops() + SGD_FLOPS)
    assert history(trainer)[9]["flops_per_s"] * 3 * SECONDS == pytest.approx(flops, rel=1e-12)
    assert "training_step" not in vars(trainer), "what was wrapped is put back"


def test_a_callback_that_is_added_later_logs_as_well(tmp_path):
    """By its class, after the trainer was made; with a sentence that this device's peaks are not known."""
    transformers = required.models("transformers")
    from opflops.integrations.huggingface import FlopsCallback  # noqa: PLC0415 - may be absent

    arguments = transformers.TrainingArguments(
        str(tmp_path), per_device_train_batch_size=8, logging_steps=2, report_to="none", use_cpu=True, max_steps=4
    )
    trainer = transformers.Trainer(Model(), arguments, train_dataset=Rows(16))
    trainer.add_callback(FlopsCallback)
    with pytest.warns(match="mfu and hfu are left out"):
        trainer.train()
    assert set(NAMES) & set(history(trainer)[4]) == {"flops_per_s", "samples_per_s"}


def test_the_callbacks_are_of_the_loops_own_classes_and_can_be_copied():
    """As trainers that start processes or search hyperparameters do."""
    import copy  # noqa: PLC0415 - here alone
    import pickle  # noqa: PLC0415 - as above

    lightning, transformers = required.models("lightning.pytorch"), required.models("transformers")
    from opflops.integrations import huggingface  # noqa: PLC0415 - may be absent
    from opflops.integrations import lightning as ours  # noqa: PLC0415 - as above

    for callback, base in (
        (ours.FlopsCallback(device="h100-sxm"), lightning.Callback),
        (huggingface.FlopsCallback(device="h100-sxm"), transformers.TrainerCallback),
    ):
        assert isinstance(callback, base)
        for made in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):  # noqa: S301 - its own
            assert made.meter is not callback.meter


def test_the_recipes_of_the_readme_run(tmp_path, monkeypatch):
    """Those that need Lightning or transformers, with a model and data of this file."""
    required.models("lightning"), required.models("transformers")
    monkeypatch.chdir(tmp_path)
    recipes = re.findall(
        r"^<!-- needs: (lightning|transformers) -->\n```python\n(.*?)^```$",
        README.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert Counter(name for name, _ in recipes) == {"lightning": 1, "transformers": 1}
    for name, code in recipes:
        session = {"model": Model(), "data": Rows(16)}
        exec(compile(code, f"README.md, {name}", "exec"), session)  # noqa: S102 - the README is ours
        trainer = session["trainer"]
        if name == "transformers":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer.train()
            assert any("mfu" in each for each in trainer.state.log_history)
        else:
            trainer.fit(lightning_module(), DataLoader(Rows(16), batch_size=8))
            assert "mfu" in trainer.logged_metrics
