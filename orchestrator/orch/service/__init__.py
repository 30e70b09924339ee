"""The service: schedules, the queue, notices, the HTTP API. Each sweep is a process of its own."""
