"""The proof that two engines run the same mathematics: a ladder of rungs, and a diagnosis.

``trace`` runs in the worker and writes down what an engine computes; ``ladder`` compares two traces
rung by rung; ``diagnosis`` names the first place where they depart; ``prove`` runs the whole.
"""
