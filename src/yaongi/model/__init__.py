"""The model: settings, layers by letter, presets, counting, loading and saving."""
