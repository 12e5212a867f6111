"""Processing algorithms: parameters to a request, events to feedback, files to destinations."""
