"""Strings to ids and back: Hangul, normalization, the tokenizer and the chat template."""
