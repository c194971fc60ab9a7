"""The command line: data on stdout, messages on stderr, exit codes of `cli.exits`."""

from sallyport.cli.app import main

__all__ = ["main"]
