"""A yaongi model for ``transformers`` under ``trust_remote_code``; needs ``pip install yaongi``.

The layers are those of the installed package, so there is one implementation; generation is
incremental on the layers' own states.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

try:
    from yaongi.infer.state import tensors
    from yaongi.model.layer import pick_kernels
    from yaongi.model.lm import LM, LMConfig, State
except ImportError as error:
    raise ImportError(
        "This model has layers transformers does not know; modeling_yaongi.py runs those of the "
        "package yaongi, which is not installed here: pip install yaongi"
    ) from error

ROOM = 256  # tokens a cache has room for at first; it doubles


class YaongiConfig(PretrainedConfig):
    """``lm`` holds yaongi's own settings of the network."""

    model_type = "yaongi"

    def __init__(self, lm: dict[str, Any] | None = None, **settings: Any) -> None:
        self.lm = lm
        super().__init__(**settings)


class YaongiCache:
    """What decoding remembers of ``batch`` rows, with room for more and more tokens."""

    is_compileable = False

    def __init__(self, lm: LM, batch: int) -> None:
        self.lm, self.batch = lm, batch
        self.state: State = lm.init_state(batch, ROOM)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens so far."""
        return self.state.length

    def make_room(self, tokens: int) -> State:
        """The state, with room for so many tokens more."""
        old, needed = self.state, self.state.length + tokens
        if needed > old.max_len:
            new = self.lm.init_state(self.batch, max(needed, 2 * old.max_len))
            for mine, theirs in zip(tensors(old.layers), tensors(new.layers), strict=True):
                theirs[tuple(map(slice, mine.shape))] = mine
            new.length, new.numbers, new.doc_ids = old.length, old.numbers, old.doc_ids
            self.state = new
        return self.state

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Row i becomes what row ``beam_idx[i]`` was (beam search)."""
        for tensor in tensors(self.state):
            tensor.copy_(tensor.index_select(0, beam_idx.to(tensor.device)))


class YaongiForCausalLM(PreTrainedModel, GenerationMixin):
    """Logits (B,T,V) of ids (B,T); no padding."""

    config_class = YaongiConfig
    main_input_name = "input_ids"
    _is_stateful = True  # a scan cannot be taken back, as assisted decoding would ask

    def __init__(self, config: YaongiConfig) -> None:
        super().__init__(config)
        self.lm = LM(LMConfig.model_validate(config.lm))
        self._kernels_of: torch.device | None = None
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Weights always come from the file."""

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """``forward`` makes its own."""
        return False

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: YaongiCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **_options: Any,
    ) -> CausalLMOutputWithPast:
        """See the class.

        Args:
            past_key_values: continue after the tokens in it, (B,T) being only the new ones.
            use_cache: start one.
            logits_to_keep: only of so many last tokens; 0 is all.
        """
        if attention_mask is not None and not attention_mask.all():
            raise ValueError("A yaongi model takes no padding; give texts of equal length.")
        if self._kernels_of != input_ids.device:
            # transformers builds the network on no device and moves weights one by one
            self.lm.kernels = pick_kernels(input_ids.device, self.lm.kernel_choices)
            self._kernels_of = input_ids.device
        cache = past_key_values
        if cache is None and use_cache:
            cache = YaongiCache(self.lm, input_ids.shape[0])
        state = None if cache is None else cache.make_room(input_ids.shape[1])
        out = self.lm(input_ids, state=state)
        if cache is not None:
            cache.state = out.state
        logits = self.lm.logits(out.hidden[:, -logits_to_keep:])
        return CausalLMOutputWithPast(logits=logits, past_key_values=cast(Any, cache))

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        *_unused: Any,
        past_key_values: YaongiCache | None = None,
        attention_mask: torch.Tensor | None = None,
        use_cache: bool | None = True,
        **_options: Any,
    ) -> dict[str, Any]:
        """The tokens that are not in the cache yet."""
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        return {
            "input_ids": input_ids[:, seen:],
            "attention_mask": attention_mask,
            "past_key_values": past_key_values,
            "use_cache": use_cache,
            "logits_to_keep": 1,
        }
