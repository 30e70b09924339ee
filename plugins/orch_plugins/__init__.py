"""The strategies that come with orch, one file each."""
