"""Every error number of the importers: what is wrong and what to do. None is ever reused.

``docs/models.md`` is made of this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Code(NamedTuple):
    what: str
    fix: str


CODES: Mapping[str, Code] = MappingProxyType(
    {
        "M001": Code("the file cannot be read", "Check the path and its permissions."),
        "M002": Code(
            "the file is no model in a format that convgen reads",
            "Export the network to ONNX or TFLite.",
        ),
        "M003": Code("the file is damaged", "Fetch or export it anew."),
        "M004": Code(
            "reading took more memory or time than the file's size explains",
            "The file is damaged, or made to exhaust its reader.",
        ),
        "M005": Code(
            "the package that reads the format is not installed",
            "`pip install 'convgen[onnx]'` or `'convgen[tflite]'`.",
        ),
        "M006": Code(
            "the version of the format or of its operators is not known",
            "`onnx.version_converter` makes another of it; a newer `onnx` knows newer ones.",
        ),
        "M007": Code(
            "weights lie outside the model's folder, or are not as the file says",
            "Put their file beside the model, or save the model with its weights inside.",
        ),
        "M008": Code(
            "nodes wait for each other in a circle, or a tensor is made twice or by nobody",
            "Repair the model; a `--cut` must not leave out what its part needs.",
        ),
        "M009": Code("the reader crashed over the file", "Fetch or export it anew."),
        "M010": Code("an input's dimensions are open", "Fix them, as in `--shape x=1x3x224x224`."),
        "M011": Code("`--shape` does not fit the model", "The message has the file's own shape."),
        "M012": Code("`--cut` does not fit the model", "Name tensors: `A:B`, `A:` or `:B`."),
        "M013": Code("the name cannot be a network's", "The message has the rule."),
        "M014": Code("the model has no output", "Export it anew."),
        "M020": Code("the operator is not known", "Cut it off with `--cut`."),
        "M021": Code(
            "the operator is not taken in this form",
            "Export the model otherwise, or cut the node off.",
        ),
        "M022": Code("the element type is not taken", "Convert the model to float32 or int8."),
        "M023": Code(
            "shapes, attributes or inputs of the node contradict each other", "Repair the model."
        ),
        "M024": Code(
            "the model keeps state between calls",
            "Export it without state (the whole window as its input), or cut the node off.",
        ),
        "M025": Code(
            "a value that must be known when the network is built is computed while it runs",
            "Fold it first (onnxslim, onnx-simplifier), or cut the node off.",
        ),
        "M026": Code("a size is beyond the bounds", "Give a smaller `--shape`."),
    }
)
