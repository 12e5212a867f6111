"""What can be trained, one method a file. Each is handed to :func:`codemae_train.loop.train`."""
