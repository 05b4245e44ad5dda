"""A road whose training never ends by itself, for tests that pause and stop it."""

ENDLESS = """
name: endless
model_name: tiny
data: {sources: [{kind: synthetic, story: 30KB, math: 10KB, code: 0, qa: 0, chat: 0}]}
mix: {story: 1.0}
tokenizer: {vocab_size: 512, allow_smaller: true}
pretrain:
  model: {vocab_size: 512, d_model: 16, pattern: "-", mlp: {d_ff: 16}}
  batch_tokens: 64
  seq_len: 64
  steps: 1000K
  log_every: 1
  save_s: 1h
"""
