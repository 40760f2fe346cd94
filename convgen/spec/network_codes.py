"""The error numbers of networks: their operators, names, inputs and shapes."""

from __future__ import annotations

from convgen.spec.code import Code

NETWORK = (
    Code(
        "E501",
        "unknown operator",
        "Each layer of a network names one operator of the vocabulary.",
        "`- maxpool: {f: 2, s: 2}`",
    ),
    Code(
        "E502",
        "not a layer of a network",
        "A layer is an operator's name, or a map with the operator as its one key.",
        "`- softmax` or `- conv: {k: 8, f: 3}`",
    ),
    Code(
        "E503",
        "unknown layer",
        "`of` and `outputs` name inputs, layers that stand before, or `previous`.",
        "`- add: {of: [skip, previous]}`",
    ),
    Code(
        "E504",
        "operator does not fit its inputs",
        "Shapes, element types and the number of inputs follow the operator's rule.",
        "`convgen check` shows the shape of every layer.",
    ),
    Code(
        "E505",
        "inputs of a network",
        "A network has `input`, or `inputs` with a name and a size for each.",
        "`inputs: {left: 28x28x1, right: 28x28x1}`",
    ),
    Code(
        "E506",
        "name of a network's layer",
        "A name is printable text without `.` at its ends; `previous` stands for the layer before.",
        "`- conv: {name: stem, k: 8, f: 3}`",
    ),
)
