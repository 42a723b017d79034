"""Weight-only quantisation: matrices of 8 or 4 bits per value, multiplied as they are.

Decode reads every weight once per token, so fewer bytes make it faster. Activations and keys
stay as they are. Only torch's own operators are used. torchao does this for modules too, but on
a CPU its int8 was 18 times slower without torch.compile and 8 to 23 % slower with it (bfloat16,
4096 x 4096, one row, torchao 0.18), and its int4 needs a further package.
"""

import torch

from minimistral._arguments import require_choice, require_finite
from minimistral.pt.linear import Matrix

KINDS = ("int8", "int4")
FEW = 4  # rows of x that int8 is multiplied with one by one on a GPU
GROUP = 64  # values of a row that share a scale, in 4 bits
SMALLEST = torch.finfo(torch.float32).tiny  # a scale of 0 would divide 0 by 0


class Packed(Matrix):
    """A matrix (out, in) in fewer bits, in place of a torch.nn.Linear: packed(x).

    dtype: of what it is multiplied with. values and scales: what is kept; nbytes: of both.
    """

    values: torch.Tensor
    scales: torch.Tensor

    def __init__(self, weight):
        super().__init__(weight.shape)
        self.register_buffer("values", None)
        self.register_buffer("scales", None)

    @property
    def dtype(self):
        return self.scales.dtype

    @property
    def device(self):
        return self.scales.device

    @property
    def nbytes(self):
        return self.values.nbytes + self.scales.nbytes

    def forward(self, x):
        return self.times(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)

    def times(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Int8Linear(Packed):
    """A matrix in 8 bits, each row rounded to 255 steps from minus to plus its largest value.

    weight (out, in) float; called with x (..., in) -> (..., out), in x's dtype.

    >>> weight = Int8Linear(torch.tensor([[127.0, 1.4], [0.0, -2.54]]))
    >>> weight(torch.eye(2))
    tensor([[127.0000,   0.0000],
            [  1.0000,  -2.5400]])
    """

    def __init__(self, weight):
        super().__init__(weight)
        wide = weight.float()
        scales = wide.abs().amax(dim=1).clamp(min=SMALLEST) / 127
        self.values = (wide / scales[:, None]).round().to(torch.int8)
        self.scales = scales.to(weight.dtype)

    def times(self, x):
        """x (N, in) -> (N, out)."""
        if x.device.type == "cpu":
            return torch._weight_int8pack_mm(x, self.values, self.scales)
        return self.on_gpu(x)

    def on_gpu(self, x):
        """The same for torch.compile, which converts on the way from memory where it can."""
        if len(x) > FEW:  # a copy in x's dtype: five bytes a value are read and written
            return (x @ self.values.T.to(x.dtype)) * self.scales
        rows = [(self.values * row.float()).sum(dim=1) for row in x]  # a byte a value and row
        return (torch.stack(rows) * self.scales).to(x.dtype)


class Int4Linear(Packed):
    """A matrix in 4 bits, each GROUP values of a row rounded to 16 steps over their range.

    weight (out, in) float; called with x (..., in) -> (..., out), in x's dtype. Raises ValueError
    unless `in` is a multiple of GROUP and `out` of 16. A GPU's operator takes bfloat16 only.
    """

    def __init__(self, weight):
        super().__init__(weight)
        rows, columns = self.shape
        if rows % 16 or columns % GROUP:
            raise ValueError(
                f"int4 needs weights (out, in) with out a multiple of 16 and in of {GROUP},"
                f" not {self.shape}"
            )
        groups = weight.float().reshape(rows, -1, GROUP)
        low, high = groups.amin(dim=-1), groups.amax(dim=-1)
        scale = (high - low).clamp(min=SMALLEST) / 15
        steps = ((groups - low[..., None]) / scale[..., None]).round().clamp(0, 15)
        steps = steps.to(torch.int32).reshape(rows, columns)
        # The operator computes (step - 8) * scale + offset.
        scales = torch.stack([scale.T, (low + 8 * scale).T], dim=-1)
        self.scales = scales.to(weight.dtype).contiguous()
        if weight.device.type == "cpu":
            self.values = torch._convert_weight_to_int4pack_for_cpu(steps, 1)
        else:  # two values per byte, the first in the upper half
            pairs = (steps[:, ::2] << 4 | steps[:, 1::2]).to(torch.uint8)
            tiles = 8 if columns % 128 == 0 else 4  # of 16 columns, that are read together
            self.values = torch._convert_weight_to_int4pack(pairs, tiles)

    def times(self, x):
        """x (N, in) -> (N, out)."""
        on_cpu = x.device.type == "cpu"
        multiply = torch._weight_int4pack_mm_for_cpu if on_cpu else torch._weight_int4pack_mm
        return multiply(x, self.values, GROUP, self.scales)


def quantized(name, weight, kind):
    """A weight as it goes into a quantised model; kind: "int8", "int4", or None for as it is.

    The matrices of the layers and the output are packed. The embedding stays, because it is
    looked up and not multiplied, and so do the norms, which are small. Raises ValueError for
    another kind, or when the weight is not finite or of a shape that cannot be packed, naming it.
    """
    if kind is None:
        return weight
    require_choice("quantize", kind, KINDS)
    if weight.ndim != 2 or name == "tok_embeddings.weight":
        return weight
    require_finite(name, weight)
    try:
        return {"int8": Int8Linear, "int4": Int4Linear}[kind](weight)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
