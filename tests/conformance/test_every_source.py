"""Every provider of the catalog passes the public checks, on a tiny network with random weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from headstart import catalog
from headstart.testing import check_source
from tests.conformance.examples import SOURCES, tiny_bert


def test_every_provider_has_an_example():
    assert set(SOURCES) == set(catalog.names("sources"))


@pytest.mark.slow
@pytest.mark.parametrize("provider", sorted(SOURCES))
def test_source(provider, tmp_path):
    source = SOURCES[provider](tmp_path)
    assert type(source) is catalog.find("sources", provider)
    check_source(source)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["minilm", "mobilenet_v2", "efficientnet_lite0", "whisper_tiny_en", "voice_encoder", "musicnn_mtt", "fracast"],
)
def test_shelf(name):
    from headstart.sources.shelf import open_source

    check_source(open_source(name))


def test_a_source_whose_features_depend_on_the_batch_is_refused(tmp_path):
    source = tiny_bert(tmp_path)
    whole = source.forward
    source.forward = lambda batch: (
        features := whole(batch),
        setattr(features, "pooled", features.pooled * len(batch)),
    )[0]
    with pytest.raises(AssertionError, match="depend on its batch"):
        check_source(source)


def test_a_source_with_dropout_is_refused(tmp_path):
    source = tiny_bert(tmp_path)
    source.network.train()
    with pytest.raises(AssertionError, match="two passes over the same rows differ"):
        check_source(source)


def test_a_source_that_keeps_its_weights_when_untrained_is_refused(tmp_path):
    source = tiny_bert(tmp_path)
    own = {name: value.clone() for name, value in source.network.state_dict().items()}
    fresh = source.fresh_network

    def kept() -> nn.Module:
        network = fresh()
        network.load_state_dict(own)
        torch.rand(1)
        return network

    source.fresh_network = kept
    with pytest.raises(AssertionError, match=r"untrained"):
        check_source(source)
