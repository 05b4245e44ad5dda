"""A model behind an address: OpenAI's HTTP interface, a chat page and metrics."""
