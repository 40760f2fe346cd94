"""The error numbers of weights: their files, shapes, types and values."""

from __future__ import annotations

from convgen.spec.code import Code

WEIGHTS = (
    Code(
        "E301",
        "weights file cannot be read",
        "The file must exist; relative paths start from the spec's folder.",
        "`weights: weights/layer.npz`",
    ),
    Code(
        "E302",
        "wrong kind of weights file",
        "`weights: FILE` is one .npz; `{w: FILE, b: FILE}` are .npy files.",
        "`weights: {w: w.npy, b: b.npy}`",
    ),
    Code(
        "E303",
        "damaged weights file",
        "The file must be whole: right header, every byte there, nothing after the array.",
        "Save it again with np.savez or np.save.",
    ),
    Code(
        "E304",
        "array missing from the .npz",
        "The .npz holds `w` and, with a bias, `b`.",
        "`np.savez('layer.npz', w=w, b=b)`",
    ),
    Code(
        "E305",
        "pickled weights",
        "Arrays of Python objects are pickles, which can run code when loaded: refused.",
        "`np.save('w.npy', w.astype(np.float32))`",
    ),
    Code(
        "E306",
        "weights of the wrong shape",
        "`w` has exactly the shape that `weight_layout` says, `b` has one entry per filter.",
        "HWIO: (KH, KW, C/G, OC)",
    ),
    Code(
        "E307",
        "weights of the wrong dtype",
        "Weights are of the layer's dtype (8-bit layers: int8, with an int32 bias) in the "
        "machine's byte order; nothing is converted silently.",
        "`w.astype(np.float32)`",
    ),
    Code(
        "E308",
        "weights not finite",
        "No NaN, no infinity.",
        "Look at how they were trained or exported.",
    ),
    Code(
        "E309",
        "bias given to a layer without one",
        "With `bias: false` the weights hold no `b`: a bias is never ignored silently.",
        "`bias: true`, or drop `b`.",
    ),
    Code(
        "E310",
        "bias missing",
        "With `bias: true` (the default), `{w: ..., b: ...}` names both files.",
        "Add `b`, or say `bias: false`.",
    ),
    Code(
        "E311",
        "too many weights to bake",
        "At most 2^24 weights are written into the C source.",
        "Leave `weights` out and pass them at run time.",
    ),
    Code(
        "E312",
        "bad path",
        "A path is printable text that is not empty.",
        "`weights: weights/layer.npz`",
    ),
)
