"""What proving that a target equals the lake costs, and finding what makes it differ."""
