"""From words to a checked plan of a sweep: what is searched, what it costs, whether it fits."""
