"""One module a suite, each with `install()` and `run(bootstrap, target, only)`, and the report."""
