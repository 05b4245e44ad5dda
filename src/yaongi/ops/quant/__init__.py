"""Matrix products in fewer bits, with the scales that make them fit."""
