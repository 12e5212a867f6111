"""One engine for all maps: plan, read, normalise, predict, blend, write."""
