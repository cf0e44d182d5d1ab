"""The completions contract: requests, responses, and the rules between them."""
