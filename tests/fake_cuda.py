"""A CUDA device without a GPU: it computes shapes, and no values.

    with fake_cuda() as log:
        model = mp.Mistral(config, device="cuda")
        model([[1, 2, 3]])
    print(log.to_device, log.to_host, log.syncs)

A tensor on "cuda" is torch's FakeTensor, which knows its shape, dtype and device. What has no such
tensor among its arguments runs as always. What a GPU would refuse, such as the sum of a tensor on
the CPU and one on cuda, raises. The log holds what a GPU would have to wait for: copies between
host and device, and questions for a value. The host gets zeros as an answer.

torch.compile does nothing here, streams do nothing, and a CUDA graph only refuses what a real one
refuses while it records. There are no gradients: where one is needed, C++ asks for a GPU.
"""

import contextlib
import functools
import operator
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
import torch.nn.attention.flex_attention as flex_attention
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import minimistral

CUDA = torch.device("cuda:0")
PACKAGE = Path(minimistral.__file__).parent
FLEX_EAGER = "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"  # without it FlexAttention warns
aten = torch.ops.aten


@dataclass(frozen=True)
class Record:
    """One copy between host and device, or one wait of the host for the device."""

    op: str
    shape: tuple
    nbytes: int
    where: str | None  # minimistral/pt/model.py:117; None when called from elsewhere


@dataclass
class Log:
    to_device: list = field(default_factory=list)
    to_host: list = field(default_factory=list)
    syncs: list = field(default_factory=list)  # .item(), bool(), nonzero, synchronize; no copies
    capturing: bool = field(default=False, repr=False)  # whether torch.cuda.graph records

    def clear(self):
        for records in (self.to_device, self.to_host, self.syncs):
            records.clear()

    def add(self, records, op, shape=(), nbytes=0):
        record = Record(str(op), tuple(shape), nbytes, where())
        if self.capturing:
            raise RuntimeError(f"operation not permitted when stream is capturing: {record}")
        records.append(record)

    def copy(self, op, tensor, target):
        records = self.to_device if target.type == "cuda" else self.to_host
        self.add(records, op, tensor.shape, tensor.nbytes)


def where():
    """The innermost line of minimistral/ that runs."""
    frame = sys._getframe(1)
    while frame is not None:
        if file := own_file(frame.f_code.co_filename):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None


@functools.cache
def own_file(name):
    path = Path(name)
    inside = path.is_relative_to(PACKAGE)
    return path.relative_to(PACKAGE.parent).as_posix() if inside else None


def is_cuda(x):
    return isinstance(x, Tensor) and x.device.type == "cuda"


def on_host(x):
    return isinstance(x, Tensor) and x.device.type == "cpu"


def place(x):
    return x.device if isinstance(x, Tensor) else None


def as_cuda(x):
    """A device, with its number if it is cuda: FakeTensor would ask the driver for it."""
    is_device = isinstance(x, torch.device) and x.type == "cuda"
    return CUDA if is_device and x.index is None else x


class Ops(TorchDispatchMode):
    """Every operator that reaches a kernel, below autograd."""

    def __init__(self, fake, log):
        super().__init__()
        self.fake, self.log = fake, log

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        args, kwargs = tree_map(as_cuda, (tuple(args), dict(kwargs or {})))
        leaves = tree_leaves((args, kwargs))
        if not any(is_cuda(x) or x == CUDA for x in leaves if isinstance(x, Tensor | torch.device)):
            with unset_fake_temporarily():
                return op(*args, **kwargs)
        special = SPECIAL.get(op.overloadpacket)
        return special(self, op, *args, **kwargs) if special else self.run(op, args, kwargs)

    def run(self, op, args, kwargs):
        """On shapes alone. A number on the CPU may take part, for a kernel takes it by value."""
        name = op.overloadpacket.__name__
        if not (name.endswith("_like") or name.startswith("new_")):  # these read only the shape
            for x in tree_leaves((args, kwargs)):
                if on_host(x) and x.ndim:
                    raise RuntimeError(
                        "Expected all tensors to be on the same device, but found at least two"
                        f" devices, cuda:0 and cpu: {op} takes {tuple(x.shape)} on the CPU"
                    )
        args, kwargs = tree_map(self.as_fake, (args, kwargs))
        with self.fake:
            return op(*args, **kwargs)

    def as_fake(self, x, device=None):
        """The shape of a tensor of the host, on the CPU or on another device."""
        if not on_host(x) or isinstance(x, FakeTensor):
            return x
        with unset_fake_temporarily():
            meta = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
        return FakeTensor(self.fake, meta, device or x.device)

    def moved(self, op, x):
        """A tensor of the host, copied to cuda by an operator itself."""
        if on_host(x):
            self.log.copy(op, x, CUDA)
        return self.as_fake(x, CUDA)

    def _to_copy(self, op, x, **options):
        target = options.get("device") or x.device
        if target.type == x.device.type:
            return self.run(op, (x,), options)
        self.log.copy(op, x, target)
        if target.type == "cuda":
            return self.run(op, (self.as_fake(x, CUDA),), options)
        with unset_fake_temporarily():
            return torch.zeros(x.shape, dtype=options.get("dtype") or x.dtype, device="cpu")

    def copy_(self, op, target, source, non_blocking=False):
        if target.device == source.device:
            return self.run(op, (target, source), {})
        self.log.copy(op, source, target.device)
        if is_cuda(target):
            return self.run(op, (target, self.as_fake(source, CUDA)), {})
        source.expand(target.shape)  # raises when it does not fit
        with unset_fake_temporarily():
            return target.zero_()

    def item(self, op, x):
        self.log.add(self.log.syncs, op, x.shape, x.nbytes)
        return torch.zeros((), dtype=x.dtype, device="cpu").item()

    def equal(self, op, x, y):
        self.log.add(self.log.syncs, op, x.shape, x.nbytes)
        return x.shape == y.shape

    def nonzero(self, op, x):
        """Of zeros, no element. The host waits for how many there are."""
        self.log.add(self.log.syncs, op, x.shape, x.nbytes)
        with self.fake:
            return torch.empty(0, x.ndim, dtype=torch.long, device=CUDA)

    def masked_select(self, op, x, mask):
        return self.index(aten.index.Tensor, x.expand_as(mask), [mask])

    def index(self, op, x, indices):
        return self.run(op, (x, self.as_indices(op, x, indices)), {})

    def index_put(self, op, x, indices, value, *rest):
        is_mask = len(indices) == 1 and indices[0].dtype in (torch.bool, torch.uint8)
        if is_mask and is_cuda(indices[0]) and value.numel() == 1:  # a fill: nobody waits
            return self.run(aten.masked_fill_.Tensor, (x, indices[0], value.reshape(())), {})
        value = self.moved(op, value) if value.ndim == 0 else value
        return self.run(op, (x, self.as_indices(op, x, indices), value, *rest), {})

    def as_indices(self, op, x, indices):
        """Those on the CPU are copied by the operator; of a mask it asks what is True."""
        if not is_cuda(x):
            raise RuntimeError("indices should be either on cpu or on the same device as the"
                               " indexed tensor (cpu)")  # fmt: skip
        found = []
        for i in indices:
            if i is not None and i.dtype in (torch.bool, torch.uint8):
                rows = self.nonzero(op, i) if is_cuda(i) else i.nonzero()
                with self.fake if is_cuda(i) else contextlib.nullcontext():
                    found += rows.unbind(1)
            else:
                found.append(i)
        return [i if i is None else self.moved(op, i) for i in found]

    def where(self, op, condition, x, y):
        """Unlike other operators it copies a number of the CPU to the device."""
        scalars = [self.moved(op, v) if v.ndim == 0 else v for v in (condition, x, y)]
        return self.run(op, tuple(scalars), {})


SPECIAL = {  # by the operator, whatever its overload
    aten._to_copy: Ops._to_copy,
    aten.copy_: Ops.copy_,
    aten._local_scalar_dense: Ops.item,
    aten.equal: Ops.equal,
    aten.nonzero: Ops.nonzero,
    aten.masked_select: Ops.masked_select,
    aten.index: Ops.index,
    aten.index_put_: Ops.index_put,
    aten._index_put_impl_: Ops.index_put,
    aten.where: Ops.where,
}


class Calls(TorchFunctionMode):
    """What a user writes. Some of it asks in C++ for a GPU before it reaches an operator."""

    def __init__(self, fake):
        super().__init__()
        self.fake = fake

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if kwargs.get("device") is not None:
            kwargs["device"] = as_cuda(torch.device(kwargs["device"]))
        generator, devices = kwargs.get("generator"), {kwargs.get("device"), *map(place, args)}
        if generator is not None and (CUDA in devices) != (generator.device == CUDA):
            raise RuntimeError(f"Expected another device for generator than {generator.device}")
        instead = INSTEAD.get(func)
        if instead is not None:
            return instead(func, *args, **kwargs)
        if kwargs.get("device") == CUDA or self.makes_another(func, args, kwargs):
            kwargs.pop("pin_memory", None)
            with self.fake:  # then torch does not look for a GPU
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    @staticmethod
    def makes_another(func, args, kwargs):
        name = getattr(func, "__name__", "")
        named = name.endswith("_like") or name.startswith("new_")
        return named and kwargs.get("device") is None and any(map(is_cuda, args))


def to(func, x, *args, **kwargs):
    options = {name: value for name, value in kwargs.items() if name != "copy"}
    device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **options)
    device = as_cuda(device or x.device)
    if "cuda" not in (device.type, x.device.type):
        return func(x, *args, **kwargs)
    same = device == x.device and dtype in (None, x.dtype)
    if same and not kwargs.get("copy", False):
        return x
    options = {"non_blocking": non_blocking, "memory_format": memory_format}
    return aten._to_copy(x, device=device, dtype=dtype, **options)


def as_tensor(func, values, dtype=None, device=None):
    if isinstance(values, Tensor):
        return to(Tensor.to, values, device=device, dtype=dtype)
    made = func(values, dtype=dtype, device="cpu" if device == CUDA else device)
    return to(Tensor.to, made, device=device)


def tensor(func, values, *, device=None, pin_memory=False, **options):
    made = func(values, device="cpu" if device == CUDA else device, **options)
    return to(Tensor.to, made, device=device).requires_grad_(made.requires_grad)


def new_tensor(func, x, values, **options):
    if not is_cuda(x):
        return func(x, values, **options)
    return tensor(torch.tensor, values, **{"dtype": x.dtype, "device": x.device, **options})


def to_cuda(func, x, device=None, **options):
    return to(Tensor.to, x, device=as_cuda(torch.device("cuda" if device is None else device)))


def to_cpu(func, x, **options):
    return to(Tensor.to, x, device="cpu")


def contiguous(func, x, *, memory_format=torch.contiguous_format):
    return aten.contiguous(x, memory_format=memory_format)


def to_numpy(func, x, *args, **kwargs):
    if is_cuda(x):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")
    return func(x, *args, **kwargs)


def copy_(func, x, source, non_blocking=False):
    if not (is_cuda(x) or is_cuda(source)):
        return func(x, source, non_blocking)
    if torch.is_grad_enabled() and (x.requires_grad or source.requires_grad):
        raise NotImplementedError("gradients through copy_ on a fake device")
    with torch._C._AutoDispatchBelowAutograd():  # above, C++ asks for a GPU
        aten.copy_(x, source, non_blocking)
    torch.autograd.graph.increment_version(x)
    return x


def nonzero(func, x, *, as_tuple=False):
    if not is_cuda(x):
        return func(x, as_tuple=as_tuple)
    found = aten.nonzero(x)
    return found.unbind(1) if as_tuple else found


def has_cuda(x, index):
    items = index if isinstance(index, tuple) else (index,)
    bounds = [at for i in items if isinstance(i, slice) for at in (i.start, i.stop, i.step)]
    return any(map(is_cuda, (x, *items, *bounds)))


def get_item(func, x, index):
    if not has_cuda(x, index):
        return func(x, index)
    part, indices = part_of(x, index)
    return aten.index(part, indices) if indices else part


def set_item(func, x, index, value):
    """As in C++: a number fills, except that a single element is copied."""
    if not has_cuda(x, index):
        return func(x, index, value)
    if not isinstance(value, Tensor):
        value = torch.tensor(value, dtype=x.dtype, device="cpu")
    part, indices = part_of(x, index)
    if indices:
        aten.index_put_(part, indices, value)
    elif value.ndim == 0 and on_host(value) and part.ndim:
        part.fill_(value.item())
    else:
        copy_(Tensor.copy_, part, value.expand(part.shape))


def part_of(x, index):
    """x after its whole numbers, slices, None and ...; and the tensors that index what is left."""
    items = list(index) if isinstance(index, tuple) else [index]
    items = [torch.tensor(i, device="cpu") if isinstance(i, list) else i for i in items]
    if not any(i is Ellipsis for i in items):
        items.append(Ellipsis)
    dim, indices = 0, []
    for n, i in enumerate(items):
        if i is None:
            x, dim = aten.unsqueeze(x, dim), dim + 1
        elif i is Ellipsis:
            dim += x.ndim - dim - sum(map(dims_of, items[n + 1 :]))
        elif isinstance(i, slice):
            start, stop = (None if at is None else whole(at) for at in (i.start, i.stop))
            x = aten.slice(x, dim, start, stop, 1 if i.step is None else whole(i.step))
            dim += 1
        elif isinstance(i, Tensor) and (i.ndim or i.dtype == torch.bool):
            indices += [None] * (dim - len(indices)) + [i]
            dim += dims_of(i)
        else:
            x = aten.select(x, dim, whole(i))
    return x, indices


def whole(number):
    """As an int; of a tensor on the device the host waits for the value."""
    return number.item() if is_cuda(number) else operator.index(number)


def dims_of(item):
    """How many axes of the tensor an item of an index stands for."""
    if item is None or item is Ellipsis:
        return 0
    is_mask = isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8)
    return item.ndim if is_mask else 1


def attention(func, q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **options):
    """In plain parts: to choose a kernel, torch would ask for the GPU's properties."""
    if not is_cuda(q):
        return func(q, k, v, attn_mask, dropout_p, is_causal, **options)
    math = aten._scaled_dot_product_attention_math
    return math(q, k, v, attn_mask, dropout_p, is_causal, **options)[0]


def flex(func, q, k, v, score_mod, block_mask, *rest):
    """The kernel of FlexAttention, which is there only when it is compiled for a real device."""
    if not all(is_cuda(x) for x in (q, k, v, *tree_leaves(block_mask)) if isinstance(x, Tensor)):
        raise RuntimeError("Expected all tensors to be on the same device: flex_attention")
    out = aten.empty_like(q)
    sums = out.select(-1, 0).float()
    return out, sums, sums


INSTEAD = {
    Tensor.to: to,
    Tensor.cuda: to_cuda,
    Tensor.cpu: to_cpu,
    Tensor.__int__: lambda func, x: int(x.item() if is_cuda(x) else func(x)),
    Tensor.__float__: lambda func, x: float(x.item() if is_cuda(x) else func(x)),
    Tensor.__index__: lambda func, x: operator.index(x.item() if is_cuda(x) else func(x)),
    Tensor.__invert__: lambda func, x: x.bitwise_not(),
    Tensor.contiguous: contiguous,
    Tensor.numpy: to_numpy,
    Tensor.__array__: to_numpy,
    Tensor.copy_: copy_,
    Tensor.__getitem__: get_item,
    Tensor.__setitem__: set_item,
    Tensor.nonzero: nonzero,
    torch.nonzero: nonzero,
    torch.tensor: tensor,
    torch.as_tensor: as_tensor,
    Tensor.new_tensor: new_tensor,
    torch.nn.functional.scaled_dot_product_attention: attention,
    torch.ops.higher_order.flex_attention: flex,
    Tensor.pin_memory: lambda func, x, *args: x.clone(),
}


# Streams and graphs do nothing: there are no values that could come too late.


class Stream:
    def __init__(self, log):
        self.log = log

    def synchronize(self):
        self.log.add(self.log.syncs, "synchronize")

    def wait_stream(self, stream):
        pass

    def wait_event(self, event):
        pass

    def record_event(self, event=None):
        return event or Event(self.log)

    def query(self):
        return True


class Event:
    def __init__(self, log):
        self.log = log

    def record(self, stream=None):
        pass

    def wait(self, stream=None):
        pass

    def synchronize(self):
        self.log.add(self.log.syncs, "synchronize")

    def query(self):
        return True

    def elapsed_time(self, end):
        return 0.0


class CUDAGraph:
    recorded = False

    def replay(self):
        if not self.recorded:
            raise RuntimeError("replay of a graph that was never recorded")

    def pool(self):
        return 0, 0

    def reset(self):
        self.recorded = False


def stand_ins(log):
    """What torch.cuda offers, by name."""

    @contextlib.contextmanager
    def graph(cuda_graph, *args, **kwargs):
        """A GPU refuses copies and waits of the host while it records."""
        log.capturing = True
        try:
            yield
            cuda_graph.recorded = True
        finally:
            log.capturing = False

    here = Stream(log)
    properties = SimpleNamespace(
        name="fake", major=9, minor=0, multi_processor_count=132, total_memory=80 * 2**30
    )
    return {
        "is_available": is_available,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": lambda device=None: properties,
        "synchronize": lambda device=None: here.synchronize(),
        "current_stream": lambda device=None: here,
        "default_stream": lambda device=None: here,
        "stream": lambda stream: contextlib.nullcontext(),
        "Stream": lambda *args, **kwargs: Stream(log),
        "Event": lambda *args, **kwargs: Event(log),
        "CUDAGraph": lambda *args, **kwargs: CUDAGraph(),
        "graph": graph,
    }


_is_available = torch.cuda.is_available


def is_available():
    """True for the project; torch itself must go on without."""
    asks = sys._getframe(1).f_globals.get("__name__", "")
    return asks.split(".")[0] == "minimistral" or _is_available()


class Generator(torch.Generator):
    """It lies on the CPU, and says that it is where it was asked to be."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.claimed = as_cuda(torch.device(device))

    @property
    def device(self):
        return self.claimed


def not_compiled(function=None, **settings):
    return function or (lambda function: function)


def forget_compiled():
    """functools.cache must not carry a function from outside the context in, nor out again."""
    for name, module in list(sys.modules.items()):
        if name.startswith("minimistral.pt"):
            for each in vars(module).values():
                if isinstance(each, functools._lru_cache_wrapper):
                    each.cache_clear()


@contextlib.contextmanager
def fake_cuda():
    """A context with a device "cuda", and without torch.compile -> its Log."""
    fake, log = FakeTensorMode(allow_non_fake_inputs=False), Log()
    forget_compiled()
    with contextlib.ExitStack() as stack:
        for name, stand_in in stand_ins(log).items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        stack.enter_context(mock.patch.object(torch, "Generator", Generator))
        stack.enter_context(mock.patch.object(torch, "compile", not_compiled))
        stack.enter_context(mock.patch.object(flex_attention, FLEX_EAGER, True))
        # FakeTensor's own asks for one number after the other.
        stack.enter_context(mock.patch.object(FakeTensor, "tolist", lambda x: x.cpu().tolist()))
        stack.enter_context(Ops(fake, log))
        stack.enter_context(Calls(fake))
        try:
            yield log
        finally:
            forget_compiled()
