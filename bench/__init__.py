"""Every claim about speed, re-runnable. `posting`: grants into the books; `rounds`: interleaved rounds and a table."""
