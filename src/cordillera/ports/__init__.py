"""The interfaces between the domains and the outside world. Protocols and the values they exchange, nothing else."""
