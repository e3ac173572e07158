"""The report of one evaluation folder, its tables and figures."""
