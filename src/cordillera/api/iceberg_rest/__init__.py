"""The Iceberg REST catalog (specification: rest-catalog-open-api): any engine finds, reads and writes datasets.

A namespace is a namespace, a table is a dataset: ``ns.orders`` the active dataset version, ``ns.orders_v2`` any one.
"""
