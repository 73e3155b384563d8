"""Pictures: a roofline, bars of modules, memory over time, and curves of symbolic counts, drawn with matplotlib.

Each function takes plain data and returns the Axes. matplotlib is imported when a picture is drawn, and pyplot never,
so that no setting and no figure of the user changes. May import ``records``, ``devices``, ``units``, and the parts of
``report`` that make tables; ``profile`` imports it.
"""
