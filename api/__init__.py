"""HTTP, the human pages, settings, the command line, and the one place where everything is wired together."""
