"""What decodes tokens into logits: a protocol, and llama.cpp behind it."""
