"""Muon beside AdamW, as one optimiser."""

from __future__ import annotations

import torch


class Muon(torch.optim.Optimizer):
    """Muon for the weight matrices (Jordan et al. 2024; torch's own), AdamW for embeddings, norms and biases.

    One optimiser to the Trainer, which schedules the rates of all groups and saves both states.
    """

    def __init__(self, model: torch.nn.Module, rate: float, *, share: float) -> None:
        matrices = {name: p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name}
        others = [p for name, p in model.named_parameters() if name not in matrices]
        self.parts = (torch.optim.Muon(list(matrices.values()), lr=rate, weight_decay=0.05),
                      torch.optim.AdamW(others, lr=rate * share, betas=(0.9, 0.95), weight_decay=0.0))  # fmt: skip
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure=None):
        """Step both."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict:
        """Return the states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the states of both."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
