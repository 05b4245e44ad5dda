"""Raw text -> documents -> token shards -> batches, in numpy; nothing here needs torch.

Read in the order of the road: ``sources/`` (where rows come from), ``recognise`` (rows to
documents), ``corpus`` (deduplicated, held out), ``shards`` (token files), ``batches`` (what a
training step sees). A document is datatrove's ``Document``.
"""
