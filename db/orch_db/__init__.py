"""The SQL database of orch: tables, store (writes), queries (reads), migrations.

Plain values go in, frozen records come out; nothing of orch is imported here.
"""
