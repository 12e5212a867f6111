"""What a representation does: structural similarity over resolutions, spectra of features, and how pairs lie together.

Small functions of arrays; the papers show the figures and give no formula, so every definition is stated where it
stands. Only NumPy and SciPy are needed.
"""
