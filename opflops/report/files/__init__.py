"""Reports as files for other programs: JSON, CSV, flame graphs, Mermaid diagrams.

May import ``report.text`` and what is beside it in ``report``; ``profile`` and the command line import it.
"""
