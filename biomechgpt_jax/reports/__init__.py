"""Everything that is rendered: pages, plots, tables and moving figures."""
