"""The demo: a year of New York's flights, from feed to report."""
