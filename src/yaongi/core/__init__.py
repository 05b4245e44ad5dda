"""Words every station shares: settings, errors, artifacts, seeds, run logs. No torch here."""
