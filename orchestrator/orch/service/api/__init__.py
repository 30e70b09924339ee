"""The HTTP API under /api/v1: what the command line does, for programs and other machines."""
