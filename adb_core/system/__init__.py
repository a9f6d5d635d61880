"""What the machine gives: files that are written whole, paths, devices."""
