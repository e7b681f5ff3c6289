"""Who runs the commands of containers: bubblewrap, started by a small process of its own."""
