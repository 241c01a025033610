"""Everything that Signet writes to a terminal, a pipe or a log. No other module prints.

Data (glosses, paths, ids, messages of other programs) are never markup, and never control the terminal.
"""

__all__: list[str] = []
