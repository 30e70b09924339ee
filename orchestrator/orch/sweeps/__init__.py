"""The life of a sweep: start, hold, direct, halt, resume, end."""
