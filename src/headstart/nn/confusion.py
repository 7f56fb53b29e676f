"""Losses on predictions for rows without labels: how much they confuse classes, how unsure and how alike they are.

- `class_confusion`: Jin, Wang, Long & Wang 2020, Minimum Class Confusion, arXiv:1912.03699, equations 2 to 7
- `entropy`, `diversity`, `information`: Shi & Sha 2012, Information-Theoretical Learning of Discriminative Clusters;
  Liang, Hu & Feng 2020, SHOT, arXiv:2002.08546, equation 3
"""

from __future__ import annotations

import torch


def class_confusion(outputs: torch.Tensor, temperature: float = 2.5) -> torch.Tensor:
    """The share of confused class pairs in logits [B,C], 0 to 1 - 1/C; sure rows count more."""
    p = torch.softmax(outputs / temperature, dim=1)
    entropy = -(p * p.clamp_min(1e-12).log()).sum(dim=1)
    sure = (1 + torch.exp(-entropy)).detach()
    sure = sure * len(sure) / sure.sum()
    together = (p * sure[:, None]).T @ p
    shares = together / together.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return (shares.sum() - shares.trace()) / p.shape[1]


def entropy(outputs: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of the prediction of each row of logits [B,C]: [B]."""
    logs = torch.log_softmax(outputs, dim=1)
    return -(logs.exp() * logs).sum(dim=1)


def diversity(outputs: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of the mean prediction of logits [B,C]: 0 where all rows are of one class, up to log C."""
    mean = torch.softmax(outputs, dim=1).mean(dim=0)
    return -(mean * mean.clamp_min(1e-12).log()).sum()


def information(outputs: torch.Tensor) -> torch.Tensor:
    """What the predictions tell, in nats: `diversity` less the mean `entropy`; sure and balanced ones tell most."""
    return diversity(outputs) - entropy(outputs).mean()
