"""Pure tensor functions, one folder per op: the readable reference first, then the fast ones.

Each folder's ``__init__`` holds the signature and the table of backends; ``ops.backend`` picks
one per device when a model is built.
"""
