"""Gradients by autograd: torch derives from the forward pass what np/backward.py writes out."""

import torch
from torch.func import functional_call

from minimistral._arguments import as_array, require_targets
from minimistral.pt.checked import as_inputs, as_tensor


def loss_and_gradients(model, tokens, targets):
    """The loss of predicting targets from tokens, and its gradient for every weight.

    model: a Mistral. tokens (B, T) ids. targets (B, T): the id that should follow each token, -1
    where the loss does not count -> the mean loss in nats, and a dict of gradients like
    model.weights. The model stays as it is: nothing is written to its weights' `grad`.
    Raises TypeError or ValueError, naming the argument.
    """
    weights = {name: weight.detach() for name, weight in trainable(model.weights).items()}
    tokens, _ = as_inputs(tokens, None, model.config.vocab_size)
    targets = as_array("targets", as_tensor, targets)
    require_targets(targets, tuple(tokens.shape), model.config.vocab_size)

    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    with torch.enable_grad():
        logits = functional_call(model, weights, (tokens,)).flatten(0, 1)
        loss = cross_entropy(logits, targets.flatten().to(logits.device, torch.long))
    grads = torch.autograd.grad(loss, list(weights.values()))
    return loss.item(), dict(zip(weights, grads, strict=True))


def cross_entropy(logits, targets):
    """The mean of -log p(target) in nats, over the targets that count.

    logits (N, V), targets (N,) integers, -1 where none counts -> loss.

    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1]))
    tensor(0.6931)
    """
    return torch.nn.functional.cross_entropy(logits, targets, ignore_index=-1)


def trainable(weights):
    """The weights, or TypeError if one is a quantised matrix."""
    for name, weight in weights.items():
        if not isinstance(weight, torch.Tensor) or weight.dtype.itemsize < 4:
            raise TypeError(
                "model must have weights of float32 or float64;"
                f" {name} is {getattr(weight, 'dtype', type(weight).__name__)}"
            )
    return weights
