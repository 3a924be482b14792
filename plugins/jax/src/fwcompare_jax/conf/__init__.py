"""Configuration values only; this file lets Hydra find them in an installed package."""
