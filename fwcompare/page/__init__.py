"""The report of a sweep as one self-contained page, ``report.html``.

``evidence`` is all that the page is made of. ``chapters`` puts the questions in order, with answers
from ``words``, figures from ``intervals``, ``curves``, ``bars``, ``roof`` and ``profiles``, and
tables of the ``circumstances``; ``html`` fills the template. Every verdict and interval is that of
the comparison: the page tests nothing itself.
"""
