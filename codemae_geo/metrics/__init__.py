"""What maps, boxes and features are worth, over the libraries that define it."""
