"""Studies: whole experiments, from folders to tables and figures."""
