"""Teaching a base model to behave: supervised fine-tuning on conversations."""
