"""The panel, the set-up dialog and the options page."""
