"""One module per command, each with its examples; heavy imports stand inside the functions."""
