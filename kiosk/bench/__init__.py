"""The figures of the README, each reproducible by one command."""
