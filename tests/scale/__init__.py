"""Several servers behind a gateway that others have made: what it learns of them, and what a fault costs."""
