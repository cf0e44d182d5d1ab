"""What the KV cache holds, and which prefixes of it are saved in host memory."""
