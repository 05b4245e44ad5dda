"""What a notebook shows: cards of models and runs, a chat box, a panel that trains.

It computes nothing. Models come in as functions, training runs as a process of the command line,
so that nothing here waits for torch.
"""
