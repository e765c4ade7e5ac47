"""Muon for a small model's hidden matrices and AdamW for all else, as one optimizer.

Momentum is orthogonalised by five Newton-Schulz steps (K. Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)
and scaled to AdamW's usual step size (Liu et al. 2025, arXiv:2502.16982), so both kinds share a learning rate.
Matrices of one shape are orthogonalised together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

STEPS = ((3.4445, -4.7750, 2.0315),) * 5


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Hidden matrices, then embeddings and vectors, of the parameters that train."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (matrices if parameter.ndim == 2 and id(parameter) not in embeddings else others).append(parameter)
    return [{"params": matrices, "orthogonal": True}, {"params": others, "orthogonal": False}]


def orthogonal(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Nearly the closest orthogonal matrices: singular values between about 0.7 and 1.2.

    The steps run in bfloat16, twice as fast where the processor has it: rounding does not keep them from their aim.
    """
    x = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(torch.bfloat16)
    for a, b, c in STEPS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.to(matrices.dtype)
    return x.mT if matrices.shape[-2] > matrices.shape[-1] else x


class Muon(torch.optim.Optimizer):
    """See the file's head. ``weight_decay`` is decoupled and falls on matrices alone."""

    def __init__(
        self, parameters: Iterable[dict[str, Any]], *, lr: float, momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-10, weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "orthogonal": False,
        }
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            (self._orthogonal if group["orthogonal"] else self._adam)(group)

    def _orthogonal(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike[tuple(parameter.shape)].append(parameter)
        for (rows, columns), parameters in alike.items():
            moved = []
            for parameter in parameters:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                assert parameter.grad is not None
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                moved.append(torch.lerp(parameter.grad, state["momentum"], group["momentum"]))  # Nesterov's
            size = 0.2 * max(rows, columns) ** 0.5 * group["lr"]
            for parameter, update in zip(parameters, orthogonal(torch.stack(moved))):
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=size)

    def _adam(self, group: dict[str, Any]) -> None:
        slow, fast = group["betas"]
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())
                state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] += 1
            state["mean"].lerp_(parameter.grad, 1 - slow)
            state["square"].lerp_(parameter.grad.square(), 1 - fast)
            mean = state["mean"] / (1 - slow ** state["step"].item())
            square = state["square"] / (1 - fast ** state["step"].item())
            parameter.sub_(mean / (square.sqrt() + group["eps"]), alpha=group["lr"])
