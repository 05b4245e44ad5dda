"""The command line: one verb per stage, and the only place that wires stations together."""
