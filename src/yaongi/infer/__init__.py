"""From a trained model to text: sampling rules, and generation token by token."""
