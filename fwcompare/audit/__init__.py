"""The defaults audit: what each framework resolved by itself, read from what it built.

``settings`` and ``initialisers`` work beside an engine, ``collect`` asks the engines from the
parent, ``lines`` lays their answers side by side, and ``table`` shows them.
"""
