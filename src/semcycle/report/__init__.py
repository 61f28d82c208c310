"""Report: figures, tables and self-contained pages. Functions take arrays and tables, and return; none shows."""
