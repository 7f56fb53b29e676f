"""Let ``import torchvision`` work beside a torch whose compiled operators it does not match.

The torchvision wheel of most package indexes is linked against CUDA. Beside a CPU build of torch its operators do not
load, and importing it stops with "operator torchvision::nms does not exist". `heal` then declares the two operators
whose absence stops the import and supplies ``nms`` in plain torch; torchvision has its own pure-Python ``roi_align``.
Where the compiled operators load, it does nothing. Call it before anything that imports torchvision (timm and
transformers do).
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import torch


@cache
def heal() -> bool:
    """Make torchvision importable. Returns True where the operators had to be supplied."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or _operators_load(Path(found.origin).parent):
        return False
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CompositeExplicitAutograd")
    _KEPT.append(library)  # the operators live as long as the library object
    boxes: Any = importlib.import_module("torchvision.ops.boxes")
    boxes._assert_has_ops = lambda: None  # torchvision asks for the compiled ones before it calls nms; these will do
    return True


_KEPT: list[Any] = []


def _operators_load(folder: Path) -> bool:
    """Whether torchvision's compiled operators are, or can be, loaded into this torch."""
    if _known("nms"):
        return True
    load: Any = torch.ops.load_library
    for path in sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd"), *folder.glob("_C*.dylib")]):
        try:
            load(str(path))
        except OSError:
            continue
    return _known("nms")


def _known(name: str) -> bool:
    try:
        getattr(torch.ops.torchvision, name)
    except (AttributeError, RuntimeError):
        return False
    return True


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Non-maximum suppression: indices [K] of the boxes kept, by falling score.

    dets [N,4] as x1, y1, x2, y2; scores [N]. A box goes where its overlap (intersection over union) with a kept box of
    higher score is greater than ``iou_threshold``.
    """
    if dets.ndim != 2 or dets.shape[1] != 4 or scores.shape != dets.shape[:1]:
        raise RuntimeError(f"nms expects boxes [N,4] and scores [N], got {list(dets.shape)} and {list(scores.shape)}")
    order = scores.argsort(descending=True, stable=True)
    boxes = dets[order]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(boxes), dtype=torch.bool, device=dets.device)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        low = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        overlap = (high - low).clamp(min=0).prod(dim=1)
        union = area[i] + area[i + 1 :] - overlap
        alive[i + 1 :] &= ~(overlap / union > iou_threshold)
    return order[alive]
