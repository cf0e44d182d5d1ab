"""Several servers of one thread each behind a gateway, against the same servers without it."""
