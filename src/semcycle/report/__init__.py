"""Report: figures, tables and one self-contained HTML page. Functions take arrays and tables, and return; none shows."""
