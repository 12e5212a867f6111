"""The command line `codemae`: every command parses, calls one library function, and prints."""
