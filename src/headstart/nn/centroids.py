"""Labels of a model's own for rows without any: the class whose centre in feature space is nearest.

Liang, Hu & Feng 2020, SHOT, arXiv:2002.08546, equations 4 to 6. A head that was fitted elsewhere may be wrong about
single rows here, while the rows themselves still lie in groups; so its chances only say where the centres are.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize, one_hot


def centroid_labels(features: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
    """Int64 [N], the class of the nearest centre by cosine distance. features [N,D]; chances [N,C], of the head.

    The centres are first means weighted by the chances, then those of the rows that were given to each class. A class
    that the head gives no row takes none.
    """
    classes = chances.shape[1]
    present = torch.bincount(chances.argmax(dim=1), minlength=classes) > 0
    rows = normalize(features, dim=1)
    labels, shares = chances.argmax(dim=1), chances
    for _ in range(2):
        centres = normalize(shares.T @ features / shares.sum(dim=0).clamp_min(1e-8)[:, None], dim=1)
        near = (rows @ centres.T).masked_fill(~present, -torch.inf)
        labels = near.argmax(dim=1)
        shares = one_hot(labels, classes).to(features.dtype)
        present = shares.sum(dim=0) > 0
    return labels
