"""A `Report` as a page, as Markdown and as a terminal table. Standard library only.

``numbers`` writes numbers, ``names`` makes text from outside safe to show, ``words`` has the words around a score and
``reading`` what the scores say together; ``html`` (with ``sections``, ``figures``, ``svg``, ``markup``,
``style.css``), ``markdown`` and ``text`` lay them out.
"""

from genmetrics_rt.render.html import render_html
from genmetrics_rt.render.markdown import render_markdown
from genmetrics_rt.render.text import render_text

__all__ = ["render_html", "render_markdown", "render_text"]
