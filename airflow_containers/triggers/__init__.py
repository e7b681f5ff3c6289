"""What waits for containers in the triggerer."""
