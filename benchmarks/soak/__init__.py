"""A long run that must stay flat: no memory that grows, no slot lost, no cell of the KV cache leaked."""
