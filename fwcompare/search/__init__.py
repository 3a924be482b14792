"""Searching for good values of options, with equal chances for every arm."""
