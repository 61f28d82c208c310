"""Networks as plain modules: they know neither data nor losses."""
