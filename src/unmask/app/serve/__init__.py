"""The service: an HTTP API and a page over the same scan that the command line runs. Needs the extra `serve`."""
