"""What other programs write: their keys, their values, their files, and what to write here.

Most people come from PyTorch, Keras, ONNX or TFLite. A word of theirs gets advice of its own; the
nearest spelling of ours would send them astray (``in_channels`` is not ``out_channels``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_NETWORK = "a step of a network, not a key of one layer"
_COMMAND = "an option of the command line, not a key of the spec"

# Key elsewhere -> (our key that it means, or ""; what to write).
_KEYS: dict[tuple[str, ...], tuple[str, str]] = {
    ("in_channels", "input_channels", "in_features", "channels", "c_in", "cin", "ic"): (
        "",
        "the input's channels are its third size, as in `input: 32x32x3`; remove the key",
    ),
    ("input_shape", "input_size", "shape", "image", "in_shape", "batch_input_shape"): (
        "input",
        "write `input: 32x32x3`, height x width x channels",
    ),
    ("num_filters", "output_channels", "features", "units", "n_filters", "c_out", "oc"): (
        "filters",
        "write `filters: 10`",
    ),
    ("height", "width"): ("", "sizes of the input stand in `input: 32x32x3`"),
    ("batch_norm", "batchnorm", "batch_normalization", "bn", "norm", "normalization"): (
        "",
        "fold it into the weights: w * gamma / sqrt(var + eps) for each filter, and "
        "b = beta - mean * gamma / sqrt(var + eps)",
    ),
    ("add", "residual", "skip", "shortcut", "sum_with", "concat"): (
        "",
        f"joining two arrays is {_NETWORK}",
    ),
    ("pool", "pooling", "max_pool", "maxpool", "avg_pool", "avgpool", "upsample", "resize"): (
        "",
        f"this is {_NETWORK}",
    ),
    ("transpose", "deconv", "conv_transpose", "deconvolution"): (
        "transposed",
        "write `transposed: true`",
    ),
    ("dropout", "dropout_rate"): ("", "it does nothing at inference: remove the key"),
    ("padding_mode", "mode", "pad_mode", "pad_value"): (
        "",
        "padding is zeros, as in `padding: 1`; pad other values into the input yourself",
    ),
    ("auto_pad",): (
        "padding",
        "write `padding: same` for SAME_UPPER, `padding: same_lower` for SAME_LOWER, "
        "`padding: valid` for VALID",
    ),
    ("causal",): (
        "padding",
        "pad the time axis at its start alone: `padding: {left: 2}` for a kernel of 3",
    ),
    ("use_bias", "has_bias", "with_bias"): ("bias", "write `bias: true` or `bias: false`"),
    ("relu",): ("activation", "write `activation: relu`"),
    ("relu6",): ("activation", "write `activation: relu6`"),
    ("fused_activation_function", "activation_fn", "nonlinearity"): (
        "activation",
        "write `activation: relu`",
    ),
    ("data_format", "format", "memory_format", "input_layout"): (
        "layout",
        "write `layout: NHWC` (channels last) or `layout: NCHW` (channels first)",
    ),
    ("data_type", "type", "precision", "element_type"): ("dtype", "write `dtype: float32`"),
    ("depthwise", "depth_multiplier", "depthwise_multiplier"): (
        "groups",
        "write `groups: depthwise`, with `filters` a multiple of the input's channels",
    ),
    ("separable", "pointwise"): (
        "",
        "write two layers: one with `groups: depthwise`, one with `kernel: 1`",
    ),
    ("kernel_initializer", "initializer", "init"): (
        "weights",
        "write `weights: {init: truncated_normal, stddev: 0.1}`",
    ),
    ("weight", "weights_file", "params"): ("weights", "write `weights: w.npz`"),
    ("quantization", "quantization_parameters", "qparams", "scale", "scales", "zero_point"): (
        "quant",
        "write `quant: {input: {scale: 0.02, zero_point: -3}, weight: {scale: 0.01}, "
        "output: {scale: 0.05, zero_point: 4}}`",
    ),
    ("batch_size", "num_images"): ("batch", "write `batch: 1`"),
    ("ceil_mode",): (
        "",
        "sizes are rounded down; `remainder: floor` drops what is left over",
    ),
    ("threads", "num_threads", "target", "isa", "cc", "compiler", "jobs"): ("", _COMMAND),
}

_DTYPES: dict[tuple[str, ...], str] = {
    ("float", "fp32", "f32", "single", "tfloat32", "tf32"): "write `dtype: float32`",
    ("double", "fp64", "f64"): "write `dtype: float64`",
    ("half", "fp16", "f16"): "write `dtype: float16`",
    ("bf16", "brain", "bfloat"): "write `dtype: bfloat16`",
    ("qint8", "i8", "s8"): "write `dtype: int8`",
    ("quint8", "u8", "byte"): "write `dtype: uint8`",
    ("int16", "uint16", "i16", "qint16"): (
        "16-bit integers are not built; `dtype: int8` with scales, or `dtype: float16`, is"
    ),
    ("int4", "uint4", "int2", "nf4", "fp4"): (
        "weights of 4 bits are not built; widen them and write `dtype: int8`"
    ),
    ("int32", "int64", "i32", "i64", "uint32"): (
        "it is no type of inputs; `dtype: int8` has int32 sums, and `quant: {output: int32}` "
        "gives them out"
    ),
    ("float8", "fp8", "e4m3", "e5m2", "float8_e4m3fn"): (
        "floats of 8 bits are not built; widen them and write `dtype: float16`"
    ),
    ("bool", "binary", "complex64", "complex128"): "real numbers alone; write `dtype: float32`",
}

_ZEROS = "padding is zeros; pad the input yourself and write `padding: 0`"
_PADDINGS: dict[tuple[str, ...], str] = {
    ("reflect", "symmetric", "replicate", "edge", "circular", "wrap", "constant"): _ZEROS,
    ("causal",): (
        "pad the time axis at its start alone: `padding: {left: 2}` for a kernel of 3, "
        "dilation x (kernel - 1)"
    ),
    ("full",): "write `padding: 2` for a kernel of 3: dilation x (kernel - 1) on every side",
    ("half",): "write `padding: same`",
    ("same_upper", "auto", "notset"): "write `padding: same`, or the number of rows",
    ("zeros", "none", "explicit"): "write how many, as in `padding: 1`",
}

_LAYOUTS: dict[tuple[str, ...], str] = {
    ("channels_last", "hwc", "nlc"): "write `layout: NHWC`",
    ("channels_first", "chw", "ncl"): "write `layout: NCHW`",
}

_ACTIVATIONS: dict[tuple[str, ...], str] = {
    ("softmax", "log_softmax", "prelu", "maxout", "glu", "swiglu"): f"it is {_NETWORK}",
    ("elu", "selu", "celu", "mish", "softplus", "softsign", "exp", "hardtanh", "hard_sigmoid"): (
        "there is none; `activation: none` gives the sums to a function of yours, and "
        "`activation: {kind: clip, min: -1, max: 1}` is a hard tanh"
    ),
}


def _flat(table: Mapping[tuple[str, ...], str]) -> Mapping[str, str]:
    return MappingProxyType({word: text for words, text in table.items() for word in words})


# These stand inside ``padding`` as well.
PADDING_KEYS = frozenset({"padding_mode", "mode", "pad_mode", "pad_value"})
KEYS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {word: advice for words, advice in _KEYS.items() for word in words}
)
VALUES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "dtype": _flat(_DTYPES),
        "padding": _flat(_PADDINGS),
        "layout": _flat(_LAYOUTS),
        "activation": _flat(_ACTIVATIONS),
    }
)


def folded(word: str) -> str:
    """How words are compared: ``Batch-Norm`` as ``batch_norm``."""
    return word[:64].strip().lower().replace("-", "_").replace(" ", "_")


def value_advice(key: str, value: str) -> str:
    """What to write instead of another program's ``value``, or "" for one that is not known."""
    return VALUES[key].get(folded(value), "")


_ARRAYS = "write a spec, and name the file there:"
_EXPORT = 'export the weights with numpy.savez("w.npz", w=..., b=...) and write a spec with'
_NPZ = "`weights: w.npz`"
_SPEC = "write its layer as a spec, as in `input: 32x32x3`"


def foreign_file(data: bytes) -> str | None:
    """What a file that is given as a spec really is, and what to do; None for text.

    ``data``: its beginning, some hundred bytes. Files are known by their content, not their names.
    """
    if data.startswith(b"\x93NUMPY"):
        return f"this is a NumPy array (.npy): {_ARRAYS} `weights: {{w: w.npy, b: b.npy}}`"
    if data.startswith(b"PK\x03\x04"):
        return _archive(data)
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return f"this is an HDF5 file, as Keras writes (.h5): {_EXPORT} {_NPZ}"
    if data[:1] == b"\x80" and len(data) > 2 and 2 <= data[1] <= 5:
        text = "this is a Python pickle, as older PyTorch writes (.pt, .pth), which is never loaded"
        return f"{text}: {_EXPORT} {_NPZ}"
    if data[4:8] == b"TFL3":
        return f"this is a TFLite model: {_SPEC}"
    if data[:4] == b"GGUF":
        return f"this is a GGUF model: {_SPEC}"
    if 2 <= int.from_bytes(data[:8], "little") < 2**27 and data[8:10] in (b'{"', b"{}"):
        return f"this is a safetensors file: {_EXPORT} {_NPZ}"
    if len(data) > 4 and data[0] == 0x08 and 0 < data[1] < 0x20:  # a protobuf's ir_version
        return f"this is an ONNX model: {_SPEC}"
    return None


def _archive(data: bytes) -> str:
    """A zip file by the name of its first entry, which stands at byte 30."""
    name = data[30 : 30 + int.from_bytes(data[26:28], "little")]
    if name.endswith(b".npy"):
        return f"this is a NumPy archive (.npz): {_ARRAYS} {_NPZ}"
    if name.endswith((b"data.pkl", b"constants.pkl", b"version", b".format_version")):
        return f"this is a PyTorch file (.pt, .pth): {_EXPORT} {_NPZ}"
    if name.endswith((b"metadata.json", b"config.json", b"model.weights.h5")):
        return f"this is a Keras model (.keras): {_EXPORT} {_NPZ}"
    return f"this is a zip archive: {_SPEC}"
