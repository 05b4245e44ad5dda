"""The control tokens: marks that only the chat template and the packer write, never text.

Names are those of ChatML and Qwen, so that foreign tools know what they are.
"""

from __future__ import annotations

END_OF_TEXT, PAD, IM_START, IM_END = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
THINK, END_THINK = "<think>", "</think>"
TOOL_CALL, END_TOOL_CALL = "<tool_call>", "</tool_call>"
TOOL_RESPONSE, END_TOOL_RESPONSE = "<tool_response>", "</tool_response>"

CONTROL = (
    END_OF_TEXT,  # opens every document; what other libraries call bos
    PAD,
    IM_START,
    IM_END,  # ends a turn; what other libraries call eos
    THINK,
    END_THINK,
    TOOL_CALL,
    END_TOOL_CALL,
    TOOL_RESPONSE,
    END_TOOL_RESPONSE,
    *(f"<|reserved_{i}|>" for i in range(64)),
)
"""All of them; a token's id is its place here, whatever the vocabulary."""
