"""Models to and from other programs: one file per target, the only place that knows their names."""
