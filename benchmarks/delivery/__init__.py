"""The benchmark of deliveries: first ones, changes until they are visible, and many subscriptions at once."""
