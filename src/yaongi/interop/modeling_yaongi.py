"""A yaongi model for ``transformers`` under ``trust_remote_code``; needs ``pip install yaongi``.

Generation reads the whole text again for every token: for speed use ``yaongi`` itself.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from yaongi.model.layer import pick_kernels
from yaongi.model.lm import LM, LMConfig


class YaongiConfig(PretrainedConfig):
    """``lm`` holds yaongi's own settings of the network."""

    model_type = "yaongi"

    def __init__(self, lm: dict[str, Any] | None = None, **settings: Any) -> None:
        self.lm = lm
        super().__init__(**settings)


class YaongiForCausalLM(PreTrainedModel, GenerationMixin):
    """Logits (B,T,V) of ids (B,T); no padding, no cache."""

    config_class = YaongiConfig
    main_input_name = "input_ids"

    def __init__(self, config: YaongiConfig) -> None:
        super().__init__(config)
        self.lm = LM(LMConfig.model_validate(config.lm))
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Weights always come from the file."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **_options: Any,
    ) -> CausalLMOutputWithPast:
        """See the class."""
        if attention_mask is not None and not attention_mask.all():
            raise ValueError("A yaongi model takes no padding; give texts of equal length.")
        # transformers builds the network on no device and moves weights one by one
        self.lm.kernels = pick_kernels(input_ids.device, self.lm.kernel_choices)
        return CausalLMOutputWithPast(logits=self.lm.logits(self.lm(input_ids).hidden))

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        *_unused: Any,
        attention_mask: torch.Tensor | None = None,
        **_options: Any,
    ) -> dict[str, Any]:
        """The whole text so far, every time."""
        return {"input_ids": input_ids, "attention_mask": attention_mask}
