"""What a commit costs as the number of snapshots grows."""
