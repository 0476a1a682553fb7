"""ONNX's operations of image classifiers, each written with TensorFlow's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
CHANNELS_LAST = (0, 2, 3, 1)  # channels last: where TensorFlow's axes are in ONNX's


@dataclass(frozen=True, eq=False)
class Value:
    """An activation: a tensor, and how its axes lie.

    Attributes:
        tensor: TensorFlow's.
        order: ``tensor`` is what ONNX means, transposed by this. Maps stay with their channels last, and a
            transposition of ONNX's changes the order alone, so that none is left to compute.
    """

    tensor: Any
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """As ONNX means it."""
        return tuple(int(self.tensor.shape[self.order.index(axis)]) for axis in range(len(self.order)))

    def in_order(self, order: Sequence[int]) -> Any:
        """The tensor with its axes in another order; transposed only where that moves values."""
        import tensorflow as tf

        axes = [self.order.index(axis) for axis in order]
        if axes == sorted(axes):
            return self.tensor
        moving = [axis for axis in axes if self.tensor.shape[axis] != 1]
        if moving == sorted(moving):
            return tf.reshape(self.tensor, [self.tensor.shape[axis] for axis in axes])
        return tf.transpose(self.tensor, axes)

    @property
    def plain(self) -> Any:
        """The tensor as ONNX means it."""
        return self.in_order(range(len(self.order)))


def plain(tensor: Any) -> Value:
    """A tensor whose axes lie as ONNX means them."""
    return Value(tensor, tuple(range(len(tensor.shape))))


class Unsupported(Exception):
    """An operation, or a way to use it, that is not translated; the message says which."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation of a graph.

    Attributes:
        kind: ``Conv``, ``Relu``, ...
        inputs: activations are :class:`Value`, constants arrays; ``None`` where an optional one is left out.
        attributes: by name.
        opset: of the graph.
    """

    kind: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def input(self, position: int, default: Any = None) -> Any:
        """An operand that may be left out."""
        operand = self.inputs[position] if position < len(self.inputs) else None
        return default if operand is None else operand

    def constant(self, position: int, name: str, default: Any = None) -> Any:
        """What newer opsets take as an operand and older ones as an attribute."""
        operand = self.input(position)
        if isinstance(operand, Value):
            raise Unsupported(f"{self.kind} with {name} that depend on the image")
        return self.get(name, default) if operand is None else operand

    @property
    def image(self) -> Value:
        """The first operand.

        Raises:
            Unsupported: it is a constant.
        """
        if not isinstance(self.inputs[0], Value):
            raise Unsupported(f"{self.kind} of a constant")
        return self.inputs[0]

    @property
    def map(self) -> Any:
        """The first operand, a map with channels last."""
        if len(self.image.order) != 4:
            raise Unsupported(f"{self.kind} of {len(self.image.order)} axes")
        return self.image.in_order(CHANNELS_LAST)


Operation = Callable[[Node], Value]


def _convolution(node: Node) -> Value:
    """Plain, grouped or by channel; batch normalisation behind it is folded in by TensorFlow's converter."""
    import tensorflow as tf

    x, weights, groups = node.map, node.inputs[1], node.get("group", 1)
    if isinstance(weights, Value) or weights.ndim != 4:
        raise Unsupported("Conv with weights that depend on the image, or not of two dimensions")
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    extent = [(side - 1) * dilation + 1 for side, dilation in zip(weights.shape[2:], dilations)]
    x, padding = _padded(x, _pads(node, x, extent, strides), extent, strides)
    channels = weights.shape[1] * groups
    if groups == channels and groups > 1:
        kernel = weights.reshape(channels, -1, *weights.shape[2:]).transpose(2, 3, 0, 1)
        y = tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], padding, dilations=dilations)
    else:
        y = tf.nn.conv2d(x, weights.transpose(2, 3, 1, 0), strides, padding, dilations=dilations)
    bias = node.input(2)
    return Value(y if bias is None else tf.nn.bias_add(y, bias), CHANNELS_LAST)


def _pads(node: Node, x: Any, extent: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Before and behind, of height and width, with what rounding up (``ceil_mode``) adds."""
    mode, sides = node.get("auto_pad", b"NOTSET"), [int(n) for n in x.shape[1:3]]
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sides, extent, strides)]
        smaller, larger = [n // 2 for n in total], [n - n // 2 for n in total]
        return list(zip(smaller, larger) if mode == b"SAME_UPPER" else zip(larger, smaller))
    padded = [0] * 4 if mode == b"VALID" else node.get("pads", [0] * 4)
    pads = list(zip(padded[:2], padded[2:]))
    if not node.get("ceil_mode", 0):
        return pads
    rounded_up = []
    for (before, behind), n, k, s in zip(pads, sides, extent, strides):
        count = math.ceil((n + before + behind - k) / s) + 1
        count -= (count - 1) * s >= n + before  # no window begins in what is added
        rounded_up.append((before, max(behind, (count - 1) * s + k - n - before)))
    return rounded_up


def _padded(
    x: Any, pads: list[tuple[int, int]], extent: Sequence[int], strides: Sequence[int], mode: str = "CONSTANT"
) -> tuple[Any, str]:
    """The map, padded, and TensorFlow's word for what is left to pad."""
    import tensorflow as tf

    if not any(map(any, pads)):
        return x, "VALID"
    sides = [int(n) for n in x.shape[1:3]]
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sides, extent, strides)]
    if pads == [(n // 2, n - n // 2) for n in total]:
        return x, "SAME"
    return tf.pad(x, [(0, 0), *pads, (0, 0)], mode), "VALID"


def _maximum_pool(node: Node) -> Value:
    """Padding must not win: behind a ReLU 0 cannot, elsewhere the edge is mirrored, which is in the window anyway."""
    import tensorflow as tf

    x, kernel, strides = node.map, node.get("kernel_shape"), node.get("strides", [1, 1])
    if any(n != 1 for n in node.get("dilations", [1, 1])):
        raise Unsupported("MaxPool with dilations")
    pads = _pads(node, x, kernel, strides)
    if any(2 * max(pair) > side for pair, side in zip(pads, kernel)):
        raise Unsupported("MaxPool padded by more than half a window")
    mode = "CONSTANT" if x.op.type in ("Relu", "Relu6", "Sigmoid") else "SYMMETRIC"
    x, padding = _padded(x, pads, kernel, strides, mode)
    return Value(tf.nn.max_pool2d(x, kernel, strides, padding), CHANNELS_LAST)


def _average_pool(node: Node) -> Value:
    """Where padding does not count, means are taken over fewer places at the edge."""
    import tensorflow as tf

    x, kernel, strides = node.map, node.get("kernel_shape"), node.get("strides", [1, 1])
    if any(n != 1 for n in node.get("dilations", [1, 1])):
        raise Unsupported("AveragePool with dilations")
    pads = _pads(node, x, kernel, strides)
    counts, ceiling = bool(node.get("count_include_pad", 0)), bool(node.get("ceil_mode", 0))
    if counts and ceiling and any(map(any, pads)):
        raise Unsupported("AveragePool that counts padding and rounds up")
    padded, padding = _padded(x, pads, kernel, strides)
    if padding == "SAME" and counts:
        padded, padding = tf.pad(x, [(0, 0), *pads, (0, 0)]), "VALID"
    y = tf.nn.avg_pool2d(padded, kernel, strides, padding)
    if counts or padding == "SAME" or not any(map(any, pads)):
        return Value(y, CHANNELS_LAST)
    inside = np.pad(np.ones([int(n) for n in x.shape[1:3]]), pads)
    windows = np.lib.stride_tricks.sliding_window_view(inside, kernel)[:: strides[0], :: strides[1]]
    return Value(y * (1 / windows.mean(axis=(2, 3), dtype=np.float32))[None, ..., None], CHANNELS_LAST)


def _normalisation(node: Node) -> Value:
    scale, shift, mean, variance = (np.asarray(v, np.float64) for v in node.inputs[1:5])
    factor = scale / np.sqrt(variance + node.get("epsilon", 1e-5))
    x = node.map if len(node.image.order) == 4 else node.image.plain  # channels last either way
    if len(node.image.order) not in (2, 4):
        raise Unsupported(f"BatchNormalization of {len(node.image.order)} axes")
    y = x * factor.astype(np.float32) + (shift - mean * factor).astype(np.float32)
    return Value(y, CHANNELS_LAST) if len(node.image.order) == 4 else plain(y)


def _dense(node: Node) -> Value:
    import tensorflow as tf

    weights, bias = node.inputs[1], node.input(2)
    if isinstance(weights, Value) or isinstance(bias, Value) or node.get("transA", 0):
        raise Unsupported(f"{node.kind} of two activations")
    weights = (weights.T if node.get("transB", 0) else weights) * np.float32(node.get("alpha", 1))
    y = tf.matmul(node.image.plain, weights)
    return plain(y if bias is None else y + bias.reshape(-1) * np.float32(node.get("beta", 1)))


def _broadcast(compute: Callable[[Any, Any], Any]) -> Operation:
    """Of operands that are brought to one order and shape."""

    def operation(node: Node) -> Value:
        activations = [v for v in node.inputs if isinstance(v, Value)]
        widest = max(activations, key=lambda v: len(v.order))
        rank = max(len(v.order) if isinstance(v, Value) else np.ndim(v) for v in node.inputs)
        order = widest.order if len(widest.order) == rank else tuple(range(rank))

        def arranged(value: Any) -> Any:
            if isinstance(value, Value):
                if len(value.order) == rank:
                    return value.in_order(order)
                shape = (1,) * (rank - len(value.order)) + value.shape
                return Value(_reshape(value, shape).tensor, tuple(range(rank))).in_order(order)
            return np.asarray(value).reshape((1,) * (rank - np.ndim(value)) + np.shape(value)).transpose(order)

        result = arranged(node.inputs[0])
        for value in node.inputs[1:]:
            result = compute(result, arranged(value))
        return Value(result, order)

    return operation


def _elementwise(compute: Callable[[Any, Node], Any]) -> Operation:
    """Of every value by itself."""
    return lambda node: Value(compute(node.image.tensor, node), node.image.order)


def _clip(x: Any, node: Node) -> Any:
    import tensorflow as tf

    low, high = (float(node.constant(at, name, d)) for at, name, d in ((1, "min", -math.inf), (2, "max", math.inf)))
    if (low, high) == (0, 6):
        return tf.nn.relu6(x)
    x = tf.nn.relu(x) if low == 0 else x if low == -math.inf else tf.maximum(x, low)
    return x if high == math.inf else tf.minimum(x, high)


def _hard_sigmoid(x: Any, node: Node) -> Any:
    import tensorflow as tf

    slope, middle = node.get("alpha", 0.2), node.get("beta", 0.5)
    if math.isclose(slope, 1 / 6, rel_tol=1e-4) and math.isclose(middle, 0.5):
        return tf.nn.relu6(x + 3) * (1 / 6)
    return tf.minimum(tf.nn.relu(x * slope + middle), 1.0)


def _prelu(node: Node) -> Value:
    import tensorflow as tf

    x, slope = node.image, node.inputs[1]
    if isinstance(slope, Value):
        raise Unsupported("PRelu with slopes that depend on the image")
    slope = slope.reshape((1,) * (len(x.order) - slope.ndim) + slope.shape).transpose(x.order)
    return Value(tf.nn.relu(x.tensor) - slope * tf.nn.relu(-x.tensor), x.order)


def _reduce(name: str) -> Operation:
    def operation(node: Node) -> Value:
        import tensorflow as tf

        x, rank = node.image, len(node.image.order)
        all_axes = [] if node.get("noop_with_empty_axes", 0) else range(rank)
        axes = {int(a) % rank for a in np.ravel(node.constant(1, "axes", all_axes))}
        keep = bool(node.get("keepdims", 1))
        y = getattr(tf, name)(x.tensor, [at for at, axis in enumerate(x.order) if axis in axes], keepdims=keep)
        remaining = [axis for axis in x.order if keep or axis not in axes]
        return Value(y, tuple(sorted(remaining).index(axis) for axis in remaining))

    return operation


def _global(name: str) -> Operation:
    def operation(node: Node) -> Value:
        import tensorflow as tf

        return Value(getattr(tf, name)(node.map, [1, 2], keepdims=True), CHANNELS_LAST)

    return operation


def _softmax(node: Node) -> Value:
    import tensorflow as tf

    x = node.image
    if node.opset < 13 and len(x.order) > 2:
        raise Unsupported("Softmax of several axes at once")
    return Value(tf.nn.softmax(x.tensor, x.order.index(node.get("axis", -1) % len(x.order))), x.order)


def _reshape(value: Value, shape: Sequence[int]) -> Value:
    """To a shape as ONNX means it; axes of one place come and go without moving values."""
    import tensorflow as tf

    return plain(tf.reshape(value.plain, shape))


def _reshaped(node: Node) -> Value:
    target, shape = [int(n) for n in node.constant(1, "shape")], node.image.shape
    target = [shape[at] if n == 0 and not node.get("allowzero", 0) else n for at, n in enumerate(target)]
    return _reshape(node.image, target)


def _flattened(node: Node) -> Value:
    axis = node.get("axis", 1) % (len(node.image.shape) + 1)
    return _reshape(node.image, (math.prod(node.image.shape[:axis]), math.prod(node.image.shape[axis:])))


def _squeezed(node: Node) -> Value:
    shape = node.image.shape
    singletons = [at for at, n in enumerate(shape) if n == 1]
    axes = {int(a) % len(shape) for a in np.ravel(node.constant(1, "axes", singletons))}
    return _reshape(node.image, [n for at, n in enumerate(shape) if at not in axes])


def _unsqueezed(node: Node) -> Value:
    new_axes = np.ravel(node.constant(1, "axes"))
    rank = len(node.image.shape) + len(new_axes)
    axes, remaining = {int(a) % rank for a in new_axes}, iter(node.image.shape)
    return _reshape(node.image, [1 if at in axes else next(remaining) for at in range(rank)])


def _transposed(node: Node) -> Value:
    x = node.image
    permutation = list(node.get("perm", range(len(x.order))[::-1]))
    return Value(x.tensor, tuple(permutation.index(axis) for axis in x.order))


def _concatenated(node: Node) -> Value:
    import tensorflow as tf

    order = next(v.order for v in node.inputs if isinstance(v, Value))
    parts = [v.in_order(order) if isinstance(v, Value) else np.transpose(v, order) for v in node.inputs]
    return Value(tf.concat(parts, order.index(node.get("axis") % len(order))), order)


def _sliced(node: Node) -> Value:
    x = node.image
    starts, ends = (np.ravel(node.constant(at, name)) for at, name in ((1, "starts"), (2, "ends")))
    axes = np.ravel(node.constant(3, "axes", range(len(starts))))
    steps = np.ravel(node.constant(4, "steps", [1] * len(starts)))
    slices = [slice(None)] * len(x.order)
    for start, end, axis, step in zip(starts, ends, axes, steps):
        if step < 1:
            raise Unsupported("Slice backwards")
        slices[x.order.index(int(axis) % len(x.order))] = slice(int(start), int(end), int(step))
    return Value(x.tensor[tuple(slices)], x.order)


def _pad(node: Node) -> Value:
    import tensorflow as tf

    x, mode = node.image, node.get("mode", b"constant")
    if mode not in (b"constant", b"reflect") or node.input(3) is not None:
        raise Unsupported(f"Pad by {mode.decode()}, or of some axes")
    pads = [int(n) for n in node.constant(1, "pads")]
    pairs = [(pads[axis], pads[axis + len(x.order)]) for axis in x.order]
    return Value(tf.pad(x.tensor, pairs, mode.decode().upper(), float(node.constant(2, "value", 0.0))), x.order)


def _resized(node: Node) -> Value:
    """To a size or by a scale, in those of ONNX's ways that TFLite has."""
    import tensorflow as tf

    x, mode = node.map, node.get("mode", b"nearest").decode()
    coordinates = node.get("coordinate_transformation_mode", b"half_pixel").decode()
    rounding = node.get("nearest_mode", b"round_prefer_floor").decode()
    sizes, scales = node.input(3), node.input(2) if node.opset > 10 else node.input(1)
    if sizes is None and scales is None:
        raise Unsupported(f"{node.kind} to no size")
    old_size = [int(n) for n in x.shape[1:3]]
    size = [int(n) for n in (sizes[2:] if sizes is not None else np.floor(np.array(old_size) * scales[2:]))]
    is_multiple = all(new % n == 0 for new, n in zip(size, old_size))
    if (
        mode == "nearest"
        and is_multiple
        and (coordinates, rounding) in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"))
    ):
        return Value(tf.image.resize(x, size, "nearest"), CHANNELS_LAST)
    if mode == "linear" and coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners") and min(size) > 1:
        align_corners = coordinates == "align_corners"
        resized = tf.raw_ops.ResizeBilinear(
            images=x, size=size, align_corners=align_corners, half_pixel_centers=not align_corners
        )
        return Value(resized, CHANNELS_LAST)
    raise Unsupported(f"{node.kind} by {mode} and {coordinates}")


def _tensorflow(path: str) -> Callable[[Any, Node], Any]:
    def compute(x: Any, node: Node) -> Any:
        import tensorflow as tf

        function: Any = tf
        for name in path.split("."):
            function = getattr(function, name)
        return function(x)

    return compute


def _lower(name: str) -> Operation:
    def compute(a: Any, b: Any) -> Any:
        import tensorflow as tf

        return getattr(tf, name)(a, b)

    return _broadcast(compute)


def _leaky(x: Any, node: Node) -> Any:
    import tensorflow as tf

    return tf.nn.leaky_relu(x, node.get("alpha", 0.01))


def _elu(x: Any, node: Node) -> Any:
    import tensorflow as tf

    if node.get("alpha", 1.0) != 1:
        raise Unsupported("Elu with another alpha than 1")
    return tf.nn.elu(x)


def _gelu(x: Any, node: Node) -> Any:
    import tensorflow as tf

    return tf.nn.gelu(x, approximate=node.get("approximate", b"none") == b"tanh")


def _hard_swish(x: Any, node: Node) -> Any:
    import tensorflow as tf

    return x * (tf.nn.relu6(x + 3) * (1 / 6))  # which TensorFlow's converter knows as HARD_SWISH


OPERATIONS: dict[str, Operation] = {
    "Conv": _convolution,
    "MaxPool": _maximum_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global("reduce_mean"),
    "GlobalMaxPool": _global("reduce_max"),
    "BatchNormalization": _normalisation,
    "Gemm": _dense,
    "MatMul": _dense,
    **{name: _lower(name.lower()) for name in ("Add", "Maximum", "Minimum")},
    "Sub": _lower("subtract"),
    "Mul": _lower("multiply"),
    "Div": _lower("divide"),
    "Pow": _lower("pow"),
    "Sum": _lower("add"),
    "Max": _lower("maximum"),
    "Min": _lower("minimum"),
    **{
        name: _elementwise(_tensorflow(f"nn.{name.lower()}"))
        for name in ("Relu", "Selu", "Sigmoid", "Tanh", "Softplus")
    },
    **{name: _elementwise(_tensorflow(f"math.{name.lower()}")) for name in ("Abs", "Erf", "Exp", "Floor", "Sqrt")},
    "Neg": _elementwise(_tensorflow("negative")),
    "LeakyRelu": _elementwise(_leaky),
    "Elu": _elementwise(_elu),
    "Gelu": _elementwise(_gelu),
    "Clip": _elementwise(_clip),
    "HardSwish": _elementwise(_hard_swish),
    "HardSigmoid": _elementwise(_hard_sigmoid),
    "Mish": _elementwise(lambda x, node: x * _tensorflow("nn.tanh")(_tensorflow("nn.softplus")(x, node), node)),
    "PRelu": _prelu,
    **{f"Reduce{name}": _reduce(f"reduce_{name.lower()}") for name in ("Mean", "Max", "Min", "Sum")},
    "Softmax": _softmax,
    "Reshape": _reshaped,
    "Flatten": _flattened,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Transpose": _transposed,
    "Concat": _concatenated,
    "Slice": _sliced,
    "Pad": _pad,
    "Resize": _resized,
    "Upsample": _resized,
    **{name: lambda node: node.image for name in ("Identity", "Dropout")},
}
