"""Builds the SD image from the recipe; runs on the build host."""
