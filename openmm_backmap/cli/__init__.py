"""The command ``openmm-backmap``: one module a subcommand."""
