"""A dry run builds all, tries small, and says so."""

import math

import pytest
import torch
from tiny_run import pretrain_config

from yaongi.core.errors import NumericsError
from yaongi.model.count import count
from yaongi.model.lm import LM
from yaongi.train import dryrun
from yaongi.train.dryrun import dry_run


def test_everything_is_built_and_a_small_copy_learns() -> None:
    cfg = pretrain_config(model="146m", optimizer="teon")
    found = dry_run(cfg)
    assert found.params_built == count(cfg.model).params_total
    assert sum(found.roles.values()) == found.params_built
    assert found.roles["matrix"] > found.roles["vector"] > 0
    assert found.small_params < 3e6
    assert found.loss == pytest.approx(math.log(512), rel=0.1)
    assert found.grad_norm > 0 and found.optimizer == "teon"


def test_a_training_that_cannot_work_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = pretrain_config(model="5m")

    class Broken(LM):
        def init_weights(self, seed: int) -> None:
            super().init_weights(seed)
            with torch.no_grad():
                self.embeddings.weight.fill_(float("nan"))

    monkeypatch.setattr(dryrun, "LM", Broken)
    with pytest.raises(NumericsError):
        dry_run(cfg)
