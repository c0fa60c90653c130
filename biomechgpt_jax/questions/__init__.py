"""The registry of question families: templates, answer types, parsing and what is true of a crop."""
