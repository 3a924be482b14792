"""A model of the user's own: Python code that is put in the place of an engine's own layers.

``read`` takes the code's name and its weight map from files, in the parent; ``mapping`` says where
each canonical tensor is in the code's model; ``code`` loads it, in the worker alone.
"""
