"""The loss of a text, and its gradient for every weight (Rumelhart et al. 1986)."""

import torch
from torch.func import functional_call

from minimistral._arguments import as_array, require_count, require_model, require_targets
from minimistral.pt.checked import as_inputs
from minimistral.pt.model import Mistral
from minimistral.pt.tensors import as_tensor


def loss_and_gradients(model, tokens, targets, micro_batch=None):
    """The loss of predicting targets from tokens, and its gradient for every weight.

    model: a Mistral of float32 or float64 weights. tokens (B, T) ids. targets (B, T): the id that
    should follow each token, -1 where the loss does not count -> the mean loss in nats, and a
    dict of gradients like model.weights. micro_batch: so many rows at a time, all if None; the
    result is the same, and the memory less. Nothing is written into the weights' own `grad`.
    Raises TypeError or ValueError, naming the argument.

    An untrained model's loss is a little above ln V, and ln 768 is 6.6:

    >>> from minimistral import ModelConfig
    >>> loss, gradients = loss_and_gradients(Mistral(ModelConfig.tiny()), [[1, 2, 3]], [[2, 3, -1]])
    >>> 6.6 < loss < 8, tuple(gradients["norm.weight"].shape)
    (True, (128,))
    """
    require_model(model, Mistral)
    trainable(model.weights)
    tokens, _ = as_inputs(tokens, None, model.config.vocab_size)
    targets = as_array("targets", as_tensor, targets)
    require_targets(targets, tuple(tokens.shape), model.config.vocab_size)
    micro_batch = len(tokens) if micro_batch is None else require_count("micro_batch", micro_batch)
    loss, gradients = 0.0, {name: torch.zeros_like(w) for name, w in model.weights.items()}
    for start in range(0, len(tokens), micro_batch):
        part = slice(start, start + micro_batch)
        # A mean over few targets must not weigh as much as a mean over many.
        share = int((targets[part] >= 0).sum()) / int((targets >= 0).sum())
        if share:
            part_loss, more = one_batch(model, tokens[part], targets[part])
            loss += share * part_loss
            for name, gradient in more.items():
                gradients[name] += share * gradient
    return loss, gradients


def one_batch(model, tokens, targets):
    """`loss_and_gradients` of rows that fit into memory together."""
    weights = {name: w.detach().requires_grad_() for name, w in model.weights.items()}
    with torch.enable_grad():
        logits = functional_call(model, weights, (tokens,))
        loss = cross_entropy(logits, targets.to(logits.device, torch.long))
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return loss.item(), dict(zip(weights, gradients, strict=True))


def cross_entropy(logits, targets):
    """The mean of -log p(target) in nats, over the targets that count.

    logits (B, T, V), targets (B, T) integers, -1 where none counts -> loss.

    >>> cross_entropy(torch.zeros(1, 1, 2), torch.tensor([[1]]))
    tensor(0.6931)
    """
    return torch.nn.functional.cross_entropy(logits.mT, targets, ignore_index=-1)


def trainable(weights):
    """The weights, or TypeError if one is a quantised matrix."""
    for name, weight in weights.items():
        if not isinstance(weight, torch.Tensor) or weight.dtype.itemsize < 4:
            raise TypeError(
                "model must have weights of float32 or float64;"
                f" {name} is {getattr(weight, 'dtype', type(weight).__name__)}"
            )
    return weights
