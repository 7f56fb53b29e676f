"""torchvision beside a torch that its compiled operators do not match."""

import subprocess
import sys

import pytest
import torch

from headstart.sources.torchvision_compat import nms

CODE = """
from headstart.sources.torchvision_compat import heal
supplied = heal()
assert heal() == supplied
import torch, torchvision
from torchvision.ops import nms, roi_align
boxes = torch.tensor([[0., 0., 10., 10.], [1., 1., 10., 10.], [20., 20., 30., 30.]])
assert nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist() == [1, 2]
if supplied:
    assert roi_align(torch.ones(1, 2, 8, 8), [boxes[:1]], 2).shape == (1, 2, 2, 2)
import timm
print("fine")
"""


@pytest.mark.slow
def test_torchvision_imports_in_a_fresh_interpreter():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "fine", done.stderr


def plain_nms(boxes, scores, threshold):
    """The textbook loop over Python floats."""
    rows = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    for i in rows:
        a = boxes[i]
        clear = True
        for j in kept:
            b = boxes[j]
            width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
            height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
            both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
            clear = clear and width * height / both <= threshold
        if clear:
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_nms_equals_the_textbook_loop(threshold):
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(60, 2, generator=generator, dtype=torch.float64)
    boxes = torch.cat([corner, corner + 0.05 + torch.rand(60, 2, generator=generator, dtype=torch.float64)], dim=1)
    scores = torch.rand(60, generator=generator, dtype=torch.float64)
    assert nms(boxes, scores, threshold).tolist() == plain_nms(boxes.tolist(), scores.tolist(), threshold)


def test_nms_of_nothing_and_of_wrong_shapes():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    with pytest.raises(RuntimeError, match="boxes"):
        nms(torch.zeros(2, 3), torch.zeros(2), 0.5)
