"""Chronos-Bolt, by the package chronos-forecasting: ``hf:amazon/chronos-bolt-small`` or a folder in its format.

A T5 that reads patches of a series and answers with all quantiles of the next steps at once (Ansari et al. 2024,
arXiv:2403.07815, and the package's own code). Forecasts are those of the package's pipeline, beyond the model's own
horizon too: there every quantile is taken for seen in turn, and of the quantiles of all that follow the same levels are
kept. It trains through the forward pass of the model; what it goes on from counts as given.
"""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import torch
from torch import nn

from headstart.datasets.windows import CONTEXT
from headstart.errors import SourceError, missing_package
from headstart.sources import hf
from headstart.sources.forecast_network import ForecastNetwork, card_of, patched, places
from headstart.sources.torchvision_compat import heal
from headstart.types import Json

ARCHITECTURE = "ChronosBoltModelForForecasting"


class ChronosBolt(ForecastNetwork):
    """A Chronos-Bolt with its head. sizes: ``config`` of the model."""

    provider = "chronos_bolt"

    @staticmethod
    def built(sizes: Json, drawn: bool = True) -> nn.Module:
        """See `ForecastNetwork.built`. Raises EnvironmentProblem HS-ENV-001 without the package."""
        model = _model()
        with hf.building(drawn):
            network = model(model.config_class(**copy.deepcopy(sizes["config"])))
            network.tie_weights()
        return network.eval()  # type: ignore[no-any-return]

    @property
    def context(self) -> int:
        """Steps of a history that it sees, at most `windows.CONTEXT`."""
        return min(int(self._bolt["context_length"]), CONTEXT)

    @property
    def _bolt(self) -> Json:
        return dict(self.sizes["config"]["chronos_config"])

    def width(self, longest: int) -> int:
        """Whole patches."""
        return patched(longest, int(self._bolt["input_patch_size"]), self.context)

    def quantiles(self, values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """[B,H,Q], by the rule of the package's ``ChronosBoltPipeline.predict``."""
        levels = torch.tensor(self._bolt["quantiles"], device=values.device)
        context = values.masked_fill(~valid, float("nan"))
        found = [self._ahead(context)]  # [B,K,h]
        wide = context.unsqueeze(1).expand(-1, len(levels), -1)
        while sum(each.shape[2] for each in found) < self.horizon:
            wide = torch.cat([wide, found[-1].detach()], dim=2)[:, :, -self.context :]
            every = self._ahead(wide.flatten(0, 1)).reshape(len(values), len(levels) ** 2, -1)
            found.append(torch.quantile(every, levels, dim=1).transpose(0, 1))
        return torch.cat(found, dim=2)[:, places(levels.tolist(), self.card.name)].transpose(1, 2)

    def _ahead(self, context: torch.Tensor) -> torch.Tensor:
        """All quantiles [B,K,h] of the model's own horizon."""
        return torch.as_tensor(self.network(context=context).quantile_preds)


def opened(place: str, config: Json, known: Json) -> ChronosBolt:
    """The source in a repository or folder. config: of the model. known: fields of the card.

    Raises EnvironmentProblem HS-ENV-001 without the package, SourceError HS-SOURCE-004 (weights do not fit),
    HS-SOURCE-007 (another Chronos, other quantiles).
    """
    kind = (config.get("architectures") or ["unknown"])[0]
    if kind != ARCHITECTURE:
        raise SourceError(
            "HS-SOURCE-007", f"{place} is a Chronos of another kind ({kind}).",
            "Choose a Chronos-Bolt, such as hf:amazon/chronos-bolt-small.",
        )  # fmt: skip
    bolt = config["chronos_config"]
    places(bolt["quantiles"], place)
    model, info = _model().from_pretrained(place, dtype=torch.float32, output_loading_info=True)
    hf.check_loaded(place, info)
    return ChronosBolt(model, card_of(place, model, known), {"config": config}, bolt["prediction_length"])


def _model() -> Any:
    """The package's model, which says of every tensor that it lacks it; the package's own would draw its patch layers.

    Raises EnvironmentProblem HS-ENV-001 where the package is not installed.
    """
    if importlib.util.find_spec("chronos") is None:
        raise missing_package("chronos-forecasting", "timeseries")
    heal()
    from chronos import chronos_bolt

    return type(ARCHITECTURE, (getattr(chronos_bolt, ARCHITECTURE),), {"_keys_to_ignore_on_load_missing": None})
