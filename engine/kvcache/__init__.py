"""What the KV cache holds, and what is kept of it in host memory."""
