"""The storage engine: plans, writes, merges and reads one Iceberg table. It knows nothing of services or catalogs.

It takes a table's metadata and returns a prepared commit (requirements, updates, manifest); who makes it visible,
and under which checks, is decided above.
"""
