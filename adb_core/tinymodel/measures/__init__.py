"""What is measured of the tiny model: one question a file."""
