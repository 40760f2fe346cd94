"""Every error number of the importers. A number is never reused for another rule."""

from __future__ import annotations

from types import MappingProxyType

CODES = MappingProxyType(
    {
        "M001": "the file cannot be read",
        "M002": "the file is not a model in a format that convgen reads",
        "M003": "the file is damaged",
        "M004": "reading the model went beyond the bounds of memory or time",
        "M005": "the package that reads this format is not installed",
        "M006": "the version of the format is not known",
        "M007": "weights lie outside the model's folder, or are not as the file says",
        "M008": "the nodes refer to each other, or to tensors that nobody makes",
        "M009": "the reader of this format crashed over the file",
        "M010": "a dimension is open",
        "M011": "--shape does not fit the model",
        "M012": "--cut does not fit the model",
        "M013": "the name cannot be a network's",
        "M014": "the model has no input, no output or no operation",
        "M020": "the operator is not known",
        "M021": "the operator is not taken in this form",
        "M022": "the element type is not taken",
        "M023": "the shapes or attributes of the node contradict each other",
        "M024": "the model keeps state between calls",
        "M025": "a value that must be known when the network is built is not",
        "M026": "the size is beyond the bounds",
    }
)
