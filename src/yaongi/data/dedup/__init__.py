"""Finding text that stands there twice: whole documents, nearly equal ones, repeated passages."""
