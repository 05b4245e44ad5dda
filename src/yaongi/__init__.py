"""yaongi: from raw text to a Korean language model you can talk to, on one machine."""
