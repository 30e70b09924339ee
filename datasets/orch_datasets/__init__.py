"""The datasets that come with orch: one file each, on a shared toolkit."""
