"""Configuration files that this plugin adds to Hydra's search path."""
