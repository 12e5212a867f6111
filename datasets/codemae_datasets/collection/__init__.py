"""Collections of scenes and images: measured, built, packed, indexed and paired. What `codemae data` calls."""
