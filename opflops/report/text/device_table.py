"""Tables of devices: all of them with their figures, by family, or one with everything that is known of it."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Label, Sheet, natural_width, render
from opflops.report.text.terminal import screen_width, to_encodable
from opflops.wording import join, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.devices import Device

DATA_FORMATS = ("json", "csv")
"""The formats that are not tables of tabulate."""

_GIGA, _TERA = 1e9, 1e12
_DTYPES = ("float64", "float32", "tf32", "float16", "bfloat16", "float8", "float4", "int8")
_DROPPED_FIRST = ("float64", "int8", "tf32", "float4", "float8", "float32", "bfloat16")
_DENSE = "Peaks are without sparsity, in TFLOP/s; one multiply-add is 2 FLOPs. int8 is in TOP/s."


def format_devices(devices: Sequence[Device], form: str = "simple") -> str:
    """Write a line for each device, below the name of its family.

    Args:
        devices: The devices; those of a family stand together.
        form: ``"simple"``, which fits the terminal, another format of tabulate, ``"json"`` or ``"csv"``.
    """
    if form == "json":
        return json.dumps([_as_dict(each) for each in devices], indent=2)
    if form != "simple":
        headers = ["device", "family", "GB", "TB/s", *_DTYPES, "source"]
        lines = [[each.name, each.family, *_figures(each), each.source] for each in devices]
        if form == "csv":
            written = io.StringIO()
            csv.writer(written, lineterminator="\n").writerows([headers, *lines])
            return written.getvalue().rstrip("\n")
        aligned = ("left", "left", *["right"] * (2 + len(_DTYPES)), "left")
        return tabulate(lines, headers, tablefmt=form, colalign=aligned, disable_numparse=True)
    labels: list[Label] = []
    lines = []
    family = None
    for each in devices:
        if each.family != family:
            family = each.family
            labels.append(Label(family or "other"))
            lines.append([""] * (2 + len(_DTYPES)))
        labels.append(Label(each.name, depth=1))
        lines.append(_figures(each))
    sheet = Sheet("device", labels, ["GB", "TB/s", *_DTYPES], list(zip(*lines, strict=True)), has_total=False)
    hidden = []
    for header in _DROPPED_FIRST:
        if natural_width(sheet, "simple") > screen_width():
            sheet = sheet.without(header)
            hidden.append(header)
    narrow = [f"Hidden because the terminal is narrow: {', '.join(hidden)}."] if hidden else []
    one = "opflops devices DEVICE shows one device with its source."
    table = to_encodable(render(sheet, "simple", color=False))
    return "\n".join([table, "", *wrap_sentences([_DENSE, *narrow, one])])


def format_device(device: Device) -> str:
    """Write everything that is known of a device: memory, peaks, ridge points, source and PyTorch's names."""
    memory = "" if device.memory is None else f"{device.memory / _GIGA:,.4g} GB of memory, "
    head = f"{device.name}{f' ({device.family})' if device.family else ''}"
    divisor, unit = _unit(device.bandwidth)
    lines = wrap_sentences([f"{head}: {memory}{device.bandwidth / divisor:,.5g} {unit}B/s"])
    sentences = []
    if device.peaks:
        divisor, unit = _unit(max(device.peaks.values()))
        rates = [f"{peak / divisor:,.5g}" for peak in device.peaks.values()]
        ridges = [f"{device.peaks[dtype] / device.bandwidth:,.4g}" for dtype in device.peaks]
        labels = [Label(printable(dtype)) for dtype in device.peaks]
        sheet = Sheet("dtype", labels, [f"{unit}FLOP/s", "flops/byte"], [rates, ridges], has_total=False)
        lines += ["", render(sheet, "simple", color=False)]
        sentences.append("Work with fewer flops/byte than stand here is limited by memory, other work by arithmetic.")
    if device.family:
        missing = [dtype for dtype in _DTYPES if dtype not in device.peaks]
        sentences += [*([_DENSE] if device.peaks else []), *([f"Not stated: {', '.join(missing)}."] if missing else [])]
    if device.family and device.memory is None:
        sentences.append("It is sold with several sizes of memory.")
    if device.torch_names:
        sentences.append(f"PyTorch's name: {join(device.torch_names, 'or')}.")
    sentences += [f"Source: {device.source or 'none given'}.", *([device.note] if device.note else [])]
    return to_encodable("\n".join([*lines, "", *wrap_sentences([printable(each) for each in sentences])]))


def _unit(rate: float) -> tuple[float, str]:
    """Return what to divide a rate by so that it is written without many zeros, and the prefix of its unit."""
    return (_TERA, "T") if rate >= _TERA / 10 else (_GIGA, "G")


def _figures(device: Device) -> list[str]:
    return [
        "" if device.memory is None else f"{device.memory / _GIGA:.4g}",
        f"{device.bandwidth / _TERA:.4g}",
        *(f"{device.peaks[dtype] / _TERA:.5g}" if dtype in device.peaks else "" for dtype in _DTYPES),
    ]


def _as_dict(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "family": device.family,
        "memory": device.memory,
        "bandwidth": device.bandwidth,
        "peaks": dict(device.peaks),
        "source": device.source,
        "note": device.note,
        "torch_names": list(device.torch_names),
    }
