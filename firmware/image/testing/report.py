"""The table that a run ends with."""

import time

from .machine import Failure


class Report:
    def __init__(self):
        self._rows = []
        self._began = time.monotonic()

    def step(self, text):
        print(f"== {text} ({time.monotonic() - self._began:.0f} s)", flush=True)

    def row(self, what, value, unit="", limit=None, goal=None):
        """A figure; more than `limit` is a failure, `goal` is only shown: it is meant for a machine with nothing else to do."""
        self._rows.append((what, value, unit, limit, goal))
        if limit is not None and value > limit:
            raise Failure(f"{what}: {_text(value)} {unit}, and the limit is {_text(limit)}")

    def print(self):
        rows = [("figure", "value", "", "limit", "goal")]
        rows += [(what, _text(value), unit, _text(limit), _text(goal)) for what, value, unit, limit, goal in self._rows]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        for what, value, unit, limit, goal in rows:
            print(f"{what:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}  {limit:>{widths[3]}}  {goal:>{widths[4]}}"
                  .rstrip())


def _text(value):
    if value is None:
        return ""
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
